"""What the Stable Diffusion families share: an autoencoder before the denoiser, and text encoders beside it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from augment.backbones.base import Backbone
from augment.backbones.checkpoint import Adapter, adapt, check_family, find_adapters, load_pipeline, locate
from augment.backbones.distilled import check_parts, check_undistilled
from augment.backbones.start import Condition, join
from augment.errors import UserError


class LatentBackbone(Backbone):
    """A text-to-image model that denoises an autoencoder's latents; one child per family.

    Args:
        pipeline: diffusers' class for the family.
        model: The checkpoint: a Hub name, a local folder, or `digits`.
        variant: The weight files to load where the checkpoint has several.
        revision: The branch, tag or commit to take from the Hub.
        resolution: Height and width in pixels; None is what the checkpoint was trained at.
        loras: LoRA weights.
        embeddings: Textual-inversion embeddings.
        without: Parts of the pipeline that are not loaded.
    """

    def __init__(
        self,
        pipeline: type[DiffusionPipeline],
        model: str,
        variant: str | None,
        revision: str | None,
        resolution: int | None,
        loras: Sequence[str],
        embeddings: Sequence[str],
        without: Mapping[str, Any],
    ) -> None:
        super().__init__()
        family = type(self).__name__
        check_undistilled(model, family, {})  # by its name alone, before gigabytes are fetched
        folder, identity = locate(model, variant, revision)
        check_family(model, folder, family)
        check_parts(model, family, folder)
        self._conditions: dict[tuple[str, torch.dtype, bool], Condition] = {}
        adapters = find_adapters(loras, embeddings)
        parts = {"variant": variant, **without}
        self._read = partial(read_pipeline, pipeline, model, folder, parts, adapters)  # no closure: it can be pickled
        left_out = "".join(f"-{part}" for part in without if part.startswith("text_encoder"))
        self.identity = identity + left_out + "".join(f"+{adapter.identity}" for adapter in adapters)
        self.load()
        scale = int(self.pipeline.vae_scale_factor)
        self.image_size = self.native_size if resolution is None else resolution
        grid = scale * self.grid
        if self.image_size < 1 or self.image_size % grid:
            raise UserError(
                "backbone.resolution", f"{self.image_size} is not a multiple of {grid}", "choose one that is"
            )
        side = self.image_size // scale
        self.latent_shape = (self.channels, side, side)
        self.train_steps = int(self.scheduler_config["num_train_timesteps"])

    def load(self) -> None:
        """Read all networks from disk."""
        self.pipeline = self._read()
        self.networks = nn.ModuleList(
            part.float().eval().requires_grad_(False)  # whatever precision the files are in
            for part in self.pipeline.components.values()
            if isinstance(part, nn.Module)
        )
        self.vae = self.pipeline.vae

    @property
    @abstractmethod
    def grid(self) -> int:
        """Latents must be a multiple of this, so that the denoiser can halve or cut them."""

    @property
    def native_size(self) -> int:
        """Height and width of the images that the checkpoint was trained on, in pixels."""
        return int(self.denoiser.config.sample_size * self.pipeline.vae_scale_factor)

    @property
    def channels(self) -> int:
        """Channels of a latent: what the denoiser takes."""
        return int(self.denoiser.config.in_channels)

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The configuration of the checkpoint's own scheduler."""
        config: Mapping[str, Any] = self.pipeline.scheduler.config
        return config

    def encode(self, images: Tensor) -> Tensor:
        """The mode of the autoencoder's posterior, shifted and scaled to unit variance."""
        encoded = self.vae.encode(images.to(self.vae.dtype))
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent  # DC-AE has one
        return (latents.float() - self._shift) * self.vae.config.scaling_factor  # [B, C, h, w]

    def decode(self, latents: Tensor) -> Tensor:
        """The autoencoder's decoder, clamped to the range of images."""
        latents = latents / self.vae.config.scaling_factor + self._shift
        return self.vae.decode(latents.to(self.vae.dtype)).sample.float().clamp(-1, 1)  # [B, 3, H, W]

    @property
    def _shift(self) -> float:
        """Mean of the autoencoder's latents."""
        return float(self.vae.config.get("shift_factor") or 0.0)

    def condition(self, prompts: Sequence[str]) -> Condition:
        """Text embeddings; a prompt is encoded once in the backbone's life. The empty one is the unconditional one."""
        how = self.dtype, torch.backends.cuda.matmul.allow_tf32  # what rounds an embedding
        for prompt in dict.fromkeys(prompts):
            if (prompt, *how) not in self._conditions:
                self._conditions[(prompt, *how)] = self.encode_prompt(prompt)
        return join([self._conditions[(prompt, *how)].to(self.device) for prompt in prompts])

    @abstractmethod
    def encode_prompt(self, prompt: str) -> Condition:
        """The condition of one prompt (one row)."""


def read_pipeline(
    pipeline: type[DiffusionPipeline],
    model: str,
    folder: Path,
    parts: Mapping[str, Any],
    adapters: Sequence[Adapter],
) -> Any:
    """The checkpoint with its adapters, from disk."""
    loaded = load_pipeline(pipeline, model, folder, **parts)
    adapt(loaded, adapters)
    return loaded
