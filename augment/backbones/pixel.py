"""Pixel-space diffusion (DDPM, DDIM): a U-Net on the image itself, unconditional or conditioned on a class."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DDPMPipeline
from torch import Tensor

from augment.backbones.base import Backbone
from augment.backbones.checkpoint import check_family, load_pipeline, locate
from augment.backbones.schedule import Schedule, ddim_schedule, spread
from augment.backbones.settings import read_config, read_settings
from augment.backbones.start import Condition
from augment.errors import UserError


class PixelDiffusion(Backbone):
    """A UNet2DModel checkpoint such as `google/ddpm-cifar10-32`, run by DDIM on pixels in [-1, 1].

    Args:
        model: The checkpoint: a Hub name, or a local folder in the same format.
        variant: The weight files to load where the checkpoint has several.
        revision: The branch, tag or commit to take from the Hub.
        class_names: The names of a class-conditional model's classes, in the order of its indices: what a prompt may
            name. Without them a prompt is the index. An unconditional model ignores prompts.
        null_class: The index that a class-conditional model was trained with for "no class"; guidance needs it.
    """

    inversions = ("ddim", "fixed-point")
    samplers = ("first-order", "dpm++")

    def __init__(
        self,
        model: str = "google/ddpm-cifar10-32",
        variant: str | None = None,
        revision: str | None = None,
        class_names: Sequence[str] = (),
        null_class: int | None = None,
    ) -> None:
        super().__init__()
        folder, self.identity = locate(model, variant, revision)
        self.folder = folder
        check_family(model, folder, "PixelDiffusion")
        self.checkpoint = (model, folder, variant)
        config = read_config(model, folder, "unet")
        self._scheduler: Mapping[str, Any] = read_settings(DDPMPipeline, model, folder).scheduler.config
        self.class_names = tuple(class_names)
        self.null_class = null_class
        self.classes = int(config["num_class_embeds"] or 0)
        self.prompts = "class" if self.classes else "none"
        self.image_size = int(config["sample_size"])
        self.latent_shape = (int(config["in_channels"]), self.image_size, self.image_size)
        if config["in_channels"] != 3:
            raise UserError(
                "backbone.model",
                f"'{model}' makes images of {config['in_channels']} channels, and RGB is needed",
                "give a model of RGB images",
            )
        self.train_steps = int(self.scheduler_config["num_train_timesteps"])

    def read(self, dtype: torch.dtype) -> Any:
        """The checkpoint, from disk."""
        model, folder, variant = self.checkpoint
        return load_pipeline(DDPMPipeline, model, folder, dtype, variant=variant)

    @property
    def unet(self) -> Any:
        """The U-Net."""
        return self.pipeline.unet

    @property
    def denoiser(self) -> Any:
        """The U-Net."""
        return self.unet

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The configuration of the checkpoint's own scheduler."""
        return self._scheduler

    def encode(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images.float()  # [B, 3, H, W]

    def decode(self, latents: Tensor) -> Tensor:
        """The pixels, clamped to the range of images."""
        return latents.float().clamp(-1, 1)  # [B, 3, H, W]

    def condition(self, prompts: Sequence[str]) -> Condition:
        """Class indices [B]; zeros, which nobody reads, for an unconditional model.

        Raises:
            UserError: If a prompt is no class.
        """
        return Condition(torch.tensor([self._class(prompt) for prompt in prompts], device=self.device))

    def unconditional(self, prompts: Sequence[str]) -> Condition:
        """The index of "no class" [B].

        Raises:
            UserError: If the model knows no such class.
        """
        if self.null_class is None:
            remedy = ", or give `backbone.null_class`" if self.classes else ""
            raise UserError("guidance", "this pixel model has no unconditional branch", f"use `guidance` 1{remedy}")
        return Condition(torch.full((len(prompts),), self.null_class, device=self.device))

    def _class(self, prompt: str) -> int:
        if not self.classes:
            return 0
        if prompt in self.class_names:
            return self.class_names.index(prompt)
        if prompt.isdecimal() and int(prompt) < self.classes:
            return int(prompt)
        known = ", ".join(self.class_names[:20]) or f"0 to {self.classes - 1}"
        raise UserError("prompt", f"'{prompt}' is no class of this model", f"a `prompt` must be one of {known}")

    def schedule(self, steps: int) -> Schedule:
        """DDIM's noise levels."""
        return ddim_schedule(self.scheduler_config, steps, pixels=True)

    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The U-Net's output, float32 [B, 3, H, W]."""
        labels = condition.embeddings if self.classes else None
        return self.unet(z.to(self.dtype), spread(time, z).long(), class_labels=labels).sample.float()
