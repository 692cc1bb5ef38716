"""What the Stable Diffusion families share: an autoencoder before the denoiser, and text encoders beside it."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from augment.backbones.abilities import Ability
from augment.backbones.adapters import find_adapters, find_tuned, identity_of, read_pipeline
from augment.backbones.base import Backbone
from augment.backbones.by_class import by_owner, owners_of, switch
from augment.backbones.checkpoint import check_family, locate
from augment.backbones.distilled import check_parts, check_undistilled
from augment.backbones.encoded import EncodedPrompts
from augment.backbones.settings import read_config, read_settings
from augment.backbones.start import Condition
from augment.backbones.tuned import read_tuned
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
        tuned: Folder that `augment tune` wrote for this checkpoint.

    Attributes:
        denoiser_part: What the pipeline calls the denoiser.
        checkpoint: Names the weights as `identity` does, without what tuning added.
        learns_words: Whether the family reads textual-inversion embeddings.
    """

    abilities: tuple[Ability, ...] = ("sample", "autoencoder")
    learns_words: ClassVar[bool] = False
    denoiser_part: str = "transformer"

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
        tuned: str | None = None,
    ) -> None:
        super().__init__()
        family = type(self).__name__
        check_undistilled(model, family, {})  # by its name alone, before gigabytes are fetched
        folder, identity = locate(model, variant, revision)
        self.folder = folder
        check_family(model, folder, family)
        check_parts(model, family, folder)
        self._prompts = EncodedPrompts()
        self._adapters = find_adapters(loras, embeddings)
        left_out = "".join(f"-{part}" for part in without if part.startswith("text_encoder"))
        self.checkpoint = identity + left_out + "".join(f"+{adapter.identity}" for adapter in self._adapters)
        self._source = partial(read_pipeline, pipeline, model, folder, {"variant": variant, **without})
        self._add(tuned)
        self.config, self.vae_config = (read_config(model, folder, part) for part in (self.denoiser_part, "vae"))
        self.settings = read_settings(pipeline, model, folder)
        self.image_size = self.native_size if resolution is None else resolution
        if self.image_size % (grid := self.scale * self.grid) or self.image_size < 1:
            problem = f"{self.image_size} is not a multiple of {grid}"
            raise UserError("backbone.resolution", problem, "choose one that is")
        side = self.image_size // self.scale
        self.latent_shape = (self.channels, side, side)
        self.train_steps = int(self.scheduler_config["num_train_timesteps"])

    def _add(self, tuned: str | Path | None) -> None:
        """Take what a tuning wrote, by file; weights are read later."""
        self.tuned = None if tuned is None else read_tuned(Path(tuned), self.checkpoint)
        added = find_tuned(self.tuned) if self.tuned else []
        self.identity = self._named = self.checkpoint + (f"+tuned@{identity_of(added)}" if added else "")
        self._read = partial(self._source, [*self._adapters, *added])  # no closure: it can be pickled

    def with_tuning(self, tuned: str | Path | None) -> Self:
        """The same checkpoint with what a tuning wrote, as a backbone of its own; this one stays as it is.

        Args:
            tuned: Folder of the tuning; None is the checkpoint alone.
        """
        own = self.identity.removeprefix(self._named)  # what the family adds
        other = copy(self)
        other._modules = {}  # not those of this one
        other.networks, other._prompts = nn.ModuleList(), EncodedPrompts()
        other._pipeline, other.evaluations, other.compiled = None, 0, False
        other._add(tuned)
        other.identity += own
        return other

    def read(self, dtype: torch.dtype) -> Any:
        """The checkpoint with its adapters, from disk."""
        return self._read(dtype)

    @property
    def denoiser(self) -> Any:
        """The network that predicts noise or velocity."""
        return getattr(self.pipeline, self.denoiser_part)

    @property
    def vae(self) -> Any:
        """The autoencoder."""
        return self.pipeline.vae

    @property
    def scale(self) -> int:
        """Pixels that one place of a latent stands for, in height and in width."""
        widths = self.vae_config.get("encoder_block_out_channels") or self.vae_config["block_out_channels"]  # DC-AE's
        return int(2 ** (len(widths) - 1))

    def load(self) -> None:
        """Read the weights; those that are offloaded stay in host memory until they are called."""
        place = self.device
        if self.waiting:
            self._place = torch.device("cpu")
        super().load()
        self._place = place
        self._wait()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the networks, unless they are offloaded: then only the place where they are called is new."""
        before, place = self._place, fn(torch.empty(0, device=self._place)).device
        if not (self.offloaded and place.type != "cpu"):
            return super()._apply(fn, recurse)
        self._place = place
        if self._pipeline is not None and place != before:
            self._wait()
        return self

    @property
    def waiting(self) -> bool:
        """Whether networks wait in host memory."""
        return self.offloaded and self._place.type != "cpu"

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self._place

    def _wait(self) -> None:
        """Let accelerate's hooks bring each network to its device when it is called, and the one before it back."""
        if self.waiting:
            self._pipeline.enable_model_cpu_offload(device=self._place)

    def keep(self, prompts: Iterable[str]) -> None:
        """Encode these prompts and the empty one, and give back the memory of the text encoders."""
        self.condition(kept := list(prompts))
        self.unconditional(kept)
        self._drop(name for name in self.pipeline.components if name.startswith("text_encoder"))

    def finish_encoding(self) -> None:
        """Give back the memory of the autoencoder's encoder."""
        self.vae.encoder = None

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            setattr(self.pipeline, name, None)
        self.networks = nn.ModuleList(part for part in self.pipeline.components.values() if isinstance(part, nn.Module))
        self._wait()  # hooks held on to what is gone
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    @abstractmethod
    def grid(self) -> int:
        """Latents must be a multiple of this, so that the denoiser can halve or cut them."""

    @property
    def native_size(self) -> int:
        """Height and width of the images that the checkpoint was trained on, in pixels."""
        return int(self.config["sample_size"] * self.scale)

    @property
    def channels(self) -> int:
        """Channels of a latent: what the denoiser takes."""
        return int(self.config["in_channels"])

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The configuration of the checkpoint's own scheduler."""
        config: Mapping[str, Any] = self.settings.scheduler.config
        return config

    def encode(self, images: Tensor) -> Tensor:
        """The mode of the autoencoder's posterior, shifted and scaled to unit variance."""
        encoded = self._encoder().encode(images.to(self.vae.dtype))
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent  # DC-AE has one
        return (latents.float() - self._shift) * self.vae_config["scaling_factor"]  # [B, C, h, w]

    def decode(self, latents: Tensor) -> Tensor:
        """The autoencoder's decoder, clamped to the range of images."""
        latents = latents / self.vae_config["scaling_factor"] + self._shift
        return self.vae.decode(latents.to(self.vae.dtype)).sample.float().clamp(-1, 1)  # [B, 3, H, W]

    @property
    def _shift(self) -> float:
        """Mean of the autoencoder's latents."""
        return float(self.vae_config.get("shift_factor") or 0.0)

    def condition(self, prompts: Sequence[str]) -> Condition:
        """Text embeddings; a prompt is encoded once in the backbone's life."""
        return self._texts(prompts, prompts)

    def unconditional(self, prompts: Sequence[str]) -> Condition:
        """Text embeddings of the empty prompt, in the networks that these prompts are for."""
        return self._texts([""] * len(prompts), prompts)

    def _texts(self, texts: Sequence[str], prompts: Sequence[str]) -> Condition:
        how = self.dtype, torch.backends.cuda.matmul.allow_tf32  # what rounds an embedding
        return self._prompts.rows(texts, owners_of(self.tuned, prompts), how, self._encode).to(self.device)

    def _encode(self, prompt: str, owner: int | None) -> Condition:
        if self.pipeline.text_encoder is None:
            self.load()
        switch(self.networks, self.tuned, owner)
        return self.encode_prompt(prompt)

    def _counted(self, z: Tensor, time: float, condition: Condition) -> Tensor:
        return by_owner(super()._counted, self.networks, self.tuned, z, time, condition)

    def forget_prompts(self) -> None:
        """Encode prompts anew from here on: the text encoders have changed."""
        self._prompts.clear()

    def _encoder(self) -> Any:
        """The autoencoder, whole."""
        if self.vae.encoder is None:
            self.load()
        return self.vae

    @abstractmethod
    def encode_prompt(self, prompt: str) -> Condition:
        """The condition of one prompt (one row)."""
