"""New words for classes: a vector for each in the text encoder's table (textual inversion, Gal et al. 2023)."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from augment.backbones.latent import LatentBackbone
from augment.backbones.tuned import TOKENS, token_of
from augment.errors import UserError


class NewTokens(nn.Module):
    """The vectors of new tokens, put in the place of their rows in the text encoder's table.

    Each starts as the mean of the vectors of the words of its class's name.

    Args:
        backbone: Whose tokenizer learns the new words.
        classes: Names of the classes.

    Raises:
        UserError: If the family reads no embeddings, or two classes have the same token.
    """

    def __init__(self, backbone: LatentBackbone, classes: Sequence[str]) -> None:
        super().__init__()
        if not backbone.learns_words:
            raise UserError(
                "tuning.prompt",
                f"new words are for Stable Diffusion 1.x and 2.x, not for {type(backbone).__name__}",
                "tune its LoRA weights alone, with {class} in the prompt",
            )
        self.names = [token_of(name) for name in classes]
        check_tokens(classes, self.names)
        tokenizer, encoder = backbone.pipeline.tokenizer, backbone.pipeline.text_encoder
        table = encoder.get_input_embeddings()
        words = [tokenizer(name, add_special_tokens=False).input_ids for name in classes]
        self.vectors = nn.Parameter(torch.stack([table.weight[word].float().mean(0) for word in words]).detach())
        self.first = len(tokenizer)
        if tokenizer.add_tokens(self.names) != len(self.names):
            known = next(name for name in self.names if name in tokenizer.get_vocab())
            raise UserError("tuning.prompt", f"the model knows '{known}' already", "rename the class")
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        encoder.get_input_embeddings().requires_grad_(False).register_forward_hook(self._put)

    def _put(self, table: nn.Module, arguments: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        """Rows of the table [B, S, D], those of the new tokens replaced by their vectors."""
        numbers = arguments[0] - self.first
        own = self.vectors[numbers.clamp(min=0)].to(rows.dtype)
        return torch.where((numbers >= 0)[..., None], own, rows)

    def save(self, folder: Path) -> None:
        """Write a file for each token, for diffusers' `load_textual_inversion` to read."""
        (folder / TOKENS).mkdir(parents=True, exist_ok=True)
        for number, (name, vector) in enumerate(zip(self.names, self.vectors.detach().cpu(), strict=True)):
            save_file({name: vector.clone()}, folder / TOKENS / f"{number:04d}-{re.sub('[<>]', '', name)}.safetensors")


def check_tokens(classes: Sequence[str], tokens: Sequence[str]) -> None:
    """Refuse classes whose names give no token of their own.

    Raises:
        UserError: If one has no letter of the Latin alphabet and no digit, or two have the same.
    """
    seen: dict[str, str] = {}
    for name, token in zip(classes, tokens, strict=True):
        if token == "<>":
            raise UserError("tuning.prompt", f"class '{name}' has no letter or digit for its new word", "rename it")
        if token in seen:
            problem = f"classes '{seen[token]}' and '{name}' would share the new word {token}"
            raise UserError("tuning.prompt", problem, "rename one of them")
        seen[token] = name
