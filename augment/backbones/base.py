"""What every diffusion backbone looks like from outside, whatever its family.

Shapes: B images, H = W = `image_size` pixels; latents have `latent_shape` = (C, h, w).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Start:
    """What a method hands to the sampler: latents, the point of the schedule they stand at, and prompts.

    Attributes:
        latent: Float32 [B, C, h, w].
        prompts: One prompt per latent.
        strength: Share of the schedule still to be denoised; 1 means t = T.
    """

    latent: Tensor
    prompts: tuple[str, ...]
    strength: float = 1.0


class Backbone(nn.Module, ABC):
    """A pretrained diffusion model with its autoencoder, text encoder and schedule.

    Latents cross this interface in float32, whatever precision the networks run in.
    """

    identity: str
    """Names the exact weights: latents inverted with one identity are never used with another."""

    image_size: int
    """Height and width of the images, in pixels."""

    latent_shape: tuple[int, int, int]
    """(C, h, w) of one latent."""

    dtype: torch.dtype = torch.float32
    """What the networks compute in."""

    def cast(self, precision: Precision) -> None:
        """Run the networks in this precision from now on."""
        self.dtype = DTYPES[precision]
        self.to(self.dtype)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to clean latents z_0 [B, C, h, w]."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents z_0 [B, C, h, w] to images [B, 3, H, W] in [-1, 1]."""

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings of the prompts, one row each; the empty prompt is the unconditional one."""

    @abstractmethod
    def invert(self, latents: Tensor, prompts: Sequence[str], steps: int, guidance: float) -> Tensor:
        """Clean latents z_0 to noise z_T by running the deterministic sampler backwards, both [B, C, h, w]."""

    @abstractmethod
    def denoise(self, start: Start, steps: int, guidance: float) -> Tensor:
        """A start to clean latents z_0 [B, C, h, w] by the deterministic sampler."""
