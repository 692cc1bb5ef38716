"""What a diffusion model in training is, to the command, the averaging of weights and the pictures of progress."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import lightning as L
import torch
from torch import Tensor, nn

from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion

AUTOENCODER_STEPS = 3000
"""Of a model that trains an autoencoder first, where nothing else is said and there is time for it."""

AUTOENCODER_SHARE = 1 / 3
"""Of a training, at most, where nothing else is said."""


class Pretraining(L.LightningModule, ABC):
    """A diffusion model in training; images are float32 [B, 3, H, W] in [-1, 1].

    Attributes:
        family: The backbone that runs what `save` writes.
        kind: What it is, for its model card.
        prompt: The prompt that every image is trained with; empty for models that read none.
        denoising_from: The optimizer step at which the epsilon objective begins, and with it the average of weights.
    """

    family: ClassVar[type[StableDiffusion | PixelDiffusion]]
    kind: ClassVar[str]
    prompt: str = ""
    denoising_from: int = 0

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The networks that are trained, by name."""

    @property
    @abstractmethod
    def objective(self) -> str:
        """Name of the logged loss that the next step lowers."""

    @abstractmethod
    def preview(self, images: Tensor) -> tuple[str, Tensor]:
        """What the model can do at this step: a name, and images in rows of 8 [M, 3, H, W].

        Args:
            images: Some of the training images, at least one.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model as fp16 safetensors in diffusers' own folder format."""


def fixed_noise(count: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """The same standard normal noise at every call, whatever else has been drawn: [count, *shape]."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0)).to(device)
