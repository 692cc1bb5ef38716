"""What does CLIP see in an image, and in the name of a class? Both as points of one space (Radford et al. 2021).

Images and texts become vectors of length 1, in float32, through which gradients pass.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from textwrap import shorten

import torch
from huggingface_hub import snapshot_download
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from augment.backbones.checkpoint import hash_folder
from augment.errors import UserError
from augment.runtime.json_files import read_object
from augment.runtime.network import one_try, out_of_reach
from augment.runtime.quiet import quietly

ARGUMENT = "settings.clip"
GIVE = "give CLIP's two towers with safetensors weights: a name on the Hub, or a folder that transformers saved"


class Clip(nn.Module):
    """Both towers of a CLIP model of transformers.

    Args:
        folder: Where it lies.

    Raises:
        UserError: If it is no such model, or its weights are not whole.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.model, self.tokenizer = read_towers(folder)
        self.eval().requires_grad_(False)
        vision, text = self.model.config.vision_config, self.model.config.text_config
        self.size, self.length = int(vision.image_size), int(text.max_position_embeddings)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(OPENAI_CLIP_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(OPENAI_CLIP_STD).view(3, 1, 1))

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Texts to vectors [K, D]."""
        tokens = self.tokenizer(
            list(texts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        ).to(self.mean.device)
        pooled = self.model.text_model(tokens.input_ids, tokens.attention_mask).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def images(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1], resized and normalised as CLIP was trained, to vectors [B, D]."""
        x = images.float() / 2 + 0.5
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        pooled = self.model.vision_model((x - self.mean) / self.std).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)


@quietly()
def read_towers(folder: Path) -> tuple[CLIPModel, AutoTokenizer]:
    """The model and its tokenizer.

    Raises:
        UserError: If a file is missing or broken, or weights are missing, which transformers would draw at random.
    """
    try:
        model, found = CLIPModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # what a broken folder raises depends on the file and on the library
        reason = shorten(str(error), 160)
        raise UserError(ARGUMENT, f"'{folder}' cannot be loaded as a CLIP model ({reason})", GIVE) from error
    if missing := sorted(found["missing_keys"]):
        raise UserError(ARGUMENT, f"'{folder}' has no weights for {missing[0]}", GIVE)
    return model, tokenizer


@lru_cache(maxsize=1)
def read_clip(name: str) -> Clip:
    """The model of that name, kept for all images of a run; gradients can pass through it."""
    with torch.inference_mode(False):
        return Clip(locate_clip(name)[0])


@lru_cache(maxsize=4)
def locate_clip(name: str) -> tuple[Path, str]:
    """Find a model's folder, downloading it from the Hub if need be, and the identity of its weights.

    Args:
        name: On the Hub, or of a folder.

    Raises:
        UserError: If it cannot be had, is no CLIP model, or has no safetensors weights.
    """
    if Path(name).is_dir():
        folder, identity = Path(name), f"{Path(name).resolve().name}@{hash_folder(Path(name))}"
    else:
        with one_try() as reachable:
            try:
                patterns = ["*.json", "*.txt", "model*.safetensors"]
                folder = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=not reachable))
            except (OSError, ValueError) as error:
                raise out_of_reach(ARGUMENT, name, reachable, error) from error
        identity = f"{name}@{folder.name}"  # a snapshot's folder is named after its commit
    if not (folder / "config.json").is_file():
        raise UserError(ARGUMENT, f"'{name}' has no config.json", GIVE)
    kind = read_object(folder / "config.json", ARGUMENT, GIVE, {"model_type": str})["model_type"]
    if kind != "clip":
        raise UserError(ARGUMENT, f"'{name}' is of the type '{kind}', not 'clip'", GIVE)
    if not any(folder.glob("*.safetensors")):
        raise UserError(ARGUMENT, f"'{name}' has no safetensors weights, and pickled ones are never read", GIVE)
    return folder, identity
