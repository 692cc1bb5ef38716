"""How much memory does a run take at most? Stage by stage: the weights that must be there, and what a batch adds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from augment.backbones.base import DTYPES, Backbone
from augment.synthesis.synthesizer import Synthesizer


@dataclass(frozen=True)
class Need:
    """What a stage takes at most, in bytes.

    Attributes:
        stage: Its name.
        weights: Of the networks that must be on the device at once.
        batch: What one batch adds; 0 where it was not measured.
    """

    stage: str
    weights: int
    batch: int


def needs(model: Synthesizer, batch_size: int, batch: int, inverts: bool) -> tuple[Need, ...]:
    """What each stage of a run takes, in the order in which they come.

    Args:
        model: What is run, with its weights read.
        batch_size: Images made at a time.
        batch: Bytes that such a batch was measured to add while sampling.
        inverts: Whether images are still to be inverted or encoded.

    Returns:
        The stages. That of inversion is reckoned from the measured batch: by the number of images, and by the
        precision.
    """
    here = torch.finfo(model.backbone.dtype).bits
    sizes = part_sizes(model.backbone)
    at_once: Callable[[Any], int] = max if model.offload else sum

    def weights(*without: str) -> int:
        return at_once([size for name, size in sizes.items() if name not in without])

    encoding = Need("encode prompts", weights(), 0)
    texts = tuple(name for name in sizes if name.startswith("text_encoder"))
    sampling = Need("make images", weights(*texts, "image_encoder"), batch)
    if not inverts:
        return encoding, sampling
    share = torch.finfo(DTYPES[model.inversion.precision]).bits / here
    images = model.inversion.batch_size / batch_size
    return (
        Need("encode prompts for inversion", round(weights() * share), 0),
        Need("invert images", round(weights(*texts) * share), round(batch * images * share)),
        encoding,
        sampling,
    )


def part_sizes(backbone: Backbone) -> dict[str, int]:
    """Bytes of the weights of each part of a checkpoint; the autoencoder's encoder is a part of its own."""
    parts = backbone.pipeline.components.items()
    sizes = {name: weight_bytes(part) for name, part in parts if isinstance(part, nn.Module)}
    encoder = getattr(getattr(backbone.pipeline, "vae", None), "encoder", None)
    if isinstance(encoder, nn.Module):
        sizes["image_encoder"] = weight_bytes(encoder)
        sizes["vae"] -= sizes["image_encoder"]
    return sizes


def weight_bytes(network: nn.Module) -> int:
    """Bytes of its parameters."""
    return sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
