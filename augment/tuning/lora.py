"""Where do LoRA weights go in a backbone, and how are they written? By peft, in diffusers' own file.

LoRA (Hu et al. 2022, Eq. 3): a layer's output W x becomes W x + B A x, with A [r, in] and B [out, r]; B starts at 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.utils import convert_state_dict_to_diffusers
from jsonargparse.typing import PositiveInt
from peft import LoraConfig, get_peft_model_state_dict
from torch import nn

from augment.backbones.latent import LatentBackbone
from augment.backbones.tuned import LORA
from augment.errors import UserError

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
OF_A_TEXT_ENCODER = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
"""CLIP's, whose LoRA weights diffusers' pipelines read."""


@dataclass(frozen=True)
class Lora:
    """Weights of low rank that are added to the networks.

    Args:
        rank: Rank r of the added weights.
        layers: Which layers of the denoiser get them: those of `attention`, or `all` linear layers and convolutions.
        text_encoders: Whether the CLIP text encoders get them too.
    """

    rank: PositiveInt = 16
    layers: Literal["attention", "all"] = "attention"
    text_encoders: bool = False


def add_lora(backbone: LatentBackbone, lora: Lora) -> None:
    """Add new LoRA weights, which at first change nothing; they alone of the networks are trained.

    Args:
        backbone: Its networks are changed in place.
        lora: Which weights.

    Raises:
        UserError: If diffusers has no LoRA files for the family, or the text encoders are to be tuned and none is one
            of CLIP's.
    """
    if not hasattr(backbone.denoiser, "add_adapter"):
        problem = f"diffusers has no LoRA weights for {type(backbone.pipeline).__name__}"
        raise UserError("backbone", problem, "choose another `backbone`")
    targets = [name for name, layer in backbone.denoiser.named_modules() if is_target(name, layer, lora.layers)]
    backbone.denoiser.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.rank, target_modules=targets))
    if lora.text_encoders:
        encoders = clip_encoders(backbone)
        if not encoders:
            raise UserError(
                "tuning.lora.text_encoders",
                f"{type(backbone).__name__} has no CLIP text encoder",
                "leave it out: the denoiser alone is tuned",
            )
        for encoder in encoders.values():
            encoder.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.rank, target_modules=list(OF_A_TEXT_ENCODER)))
    for parameter in backbone.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # whatever the networks compute in


@contextmanager
def untuned(backbone: LatentBackbone) -> Iterator[None]:
    """Inside the block the networks compute as they did before LoRA weights were added."""
    adapted = [part for part in (backbone.denoiser, *clip_encoders(backbone).values()) if has_lora(part)]
    for part in adapted:
        part.disable_adapters()
    try:
        yield
    finally:
        for part in adapted:
            part.enable_adapters()


def has_lora(part: Any) -> bool:
    """Whether LoRA weights were added to a network."""
    return bool(getattr(part, "_hf_peft_config_loaded", False))


def is_target(name: str, layer: nn.Module, layers: Literal["attention", "all"]) -> bool:
    """Whether a layer of the denoiser gets LoRA weights."""
    if layers == "all":
        return isinstance(layer, nn.Linear | nn.Conv2d)
    return name.endswith(tuple(f".{target}" for target in ATTENTION))


def clip_encoders(backbone: LatentBackbone) -> dict[str, Any]:
    """The CLIP text encoders of a backbone, by their names in diffusers' pipelines."""
    found = {name: getattr(backbone.pipeline, name, None) for name in TEXT_ENCODERS}
    return {name: encoder for name, encoder in found.items() if type(encoder).__name__.startswith("CLIPText")}


def save_lora(backbone: LatentBackbone, folder: Path) -> None:
    """Write the LoRA weights as diffusers' pipelines do, for their `load_lora_weights` to read.

    Args:
        backbone: With LoRA weights.
        folder: Where `pytorch_lora_weights.safetensors` is written.
    """
    denoiser = "unet" if hasattr(backbone.pipeline, "unet") else "transformer"
    parts = {denoiser: backbone.denoiser, **clip_encoders(backbone)}
    layers = {
        f"{name}_lora_layers": layers_of(part, convert=denoiser == "unet" and name != denoiser)
        for name, part in parts.items()
        if has_lora(part)
    }
    type(backbone.pipeline).save_lora_weights(folder, weight_name=LORA, safe_serialization=True, **layers)


def layers_of(part: nn.Module, convert: bool) -> dict[str, torch.Tensor]:
    """The LoRA weights of a network, on the host, under the names that diffusers' loaders know.

    Its loader of U-Nets knows peft's names for all layers, but takes no file that has them beside its own older ones.
    """
    found = {
        name: value.detach().cpu().float().contiguous()
        for name, value in get_peft_model_state_dict(part, save_embedding_layers=False).items()
    }
    return dict(convert_state_dict_to_diffusers(found)) if convert else found
