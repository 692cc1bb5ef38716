"""Stable Diffusion 1.x and 2.x, and anything in its folder format: text encoder, U-Net, DDIM.

Notation: `eps` is the network's output e_theta(z_t, t); z_0 the clean latent, z_T the noise.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from augment.backbones.base import Backbone, Start
from augment.errors import UserError

EMBEDDED = Path(__file__).parent.parent / "assets"


class StableDiffusion(Backbone):
    """A Stable Diffusion 1.x or 2.x checkpoint, run by deterministic DDIM (eta = 0).

    Args:
        model: A Hub name such as `stable-diffusion-v1-5/stable-diffusion-v1-5`, a local folder in the same
            format, or `digits` for the small model that ships with this package.
        variant: Weight files to load where the checkpoint has several, such as `fp16`.
        revision: Branch, tag or commit on the Hub.
        resolution: Height and width in pixels; by default what the checkpoint was trained at.
    """

    def __init__(
        self,
        model: str = "digits",
        variant: str | None = None,
        revision: str | None = None,
        resolution: int | None = None,
    ) -> None:
        super().__init__()
        folder, self.identity = locate(model, variant, revision)
        self.pipeline = load_pipeline(model, folder, variant)
        self.unet = self.pipeline.unet.eval().requires_grad_(False)
        self.vae = self.pipeline.vae.eval().requires_grad_(False)
        self.text_encoder = self.pipeline.text_encoder.eval().requires_grad_(False)
        scale = self.pipeline.vae_scale_factor
        self.image_size = resolution or int(self.unet.config.sample_size) * scale
        grid = scale * 2 ** (len(self.unet.config.block_out_channels) - 1)
        if self.image_size % grid:
            raise UserError(f"backbone.resolution: {self.image_size} is not a multiple of {grid}; choose one that is")
        side = self.image_size // scale
        self.latent_shape = (int(self.unet.config.in_channels), side, side)
        self.cast("fp32")  # whatever precision the files are in
        self._embeddings: dict[tuple[str, torch.dtype], Tensor] = {}

    def encode(self, images: Tensor) -> Tensor:
        """The mode of the autoencoder's posterior, scaled to unit variance."""
        posterior = self.vae.encode(images.to(self.dtype)).latent_dist
        return posterior.mode().float() * self.vae.config.scaling_factor  # [B, C, h, w]

    def decode(self, latents: Tensor) -> Tensor:
        """The autoencoder's decoder, clamped to the range of images."""
        images = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.dtype)).sample
        return images.float().clamp(-1, 1)  # [B, 3, H, W]

    def condition(self, prompts: Sequence[str]) -> Tensor:
        """CLIP text embeddings [B, S, D]; a prompt is encoded once in the backbone's life."""
        device = self.unet.device
        for prompt in set(prompts):
            if (prompt, self.dtype) not in self._embeddings:
                row, _ = self.pipeline.encode_prompt(prompt, device, 1, do_classifier_free_guidance=False)
                self._embeddings[prompt, self.dtype] = row
        return torch.cat([self._embeddings[prompt, self.dtype].to(device) for prompt in prompts])

    def invert(self, latents: Tensor, prompts: Sequence[str], steps: int, guidance: float) -> Tensor:
        """DDIM inversion: each step reuses the noise predicted at its near end (Song et al. 2021, Eq. 13)."""
        scheduler = DDIMInverseScheduler.from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(steps)
        return self._run(scheduler, scheduler.timesteps, latents, prompts, guidance)

    def denoise(self, start: Start, steps: int, guidance: float) -> Tensor:
        """DDIM with eta = 0 (Song et al. 2021, Eq. 12) from the start's place in the schedule."""
        scheduler = DDIMScheduler.from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(steps)
        left = max(1, round(steps * start.strength))
        return self._run(scheduler, scheduler.timesteps[-left:], start.latent, start.prompts, guidance)

    def _run(
        self,
        scheduler: DDIMScheduler | DDIMInverseScheduler,
        timesteps: Tensor,
        latents: Tensor,
        prompts: Sequence[str],
        guidance: float,
    ) -> Tensor:
        embeddings = self.condition(prompts)
        if guidance != 1:
            embeddings = torch.cat([self.condition([""] * len(prompts)), embeddings])  # [2B, S, D]
        z = latents.to(self.unet.device, torch.float32)
        for t in timesteps:
            z = scheduler.step(self._eps(z, t, embeddings, guidance), t, z, return_dict=False)[0]
        return z

    def _eps(self, z: Tensor, t: Tensor, embeddings: Tensor, guidance: float) -> Tensor:
        """Noise prediction with classifier-free guidance, both branches in one call: [B, C, h, w]."""
        model_input = z.to(self.dtype)
        if guidance == 1:
            return self.unet(model_input, t, encoder_hidden_states=embeddings).sample.float()
        both = self.unet(torch.cat([model_input, model_input]), t, encoder_hidden_states=embeddings).sample.float()
        unconditional, conditional = both.chunk(2)
        return unconditional + guidance * (conditional - unconditional)


def locate(model: str, variant: str | None, revision: str | None) -> tuple[Path, str]:
    """Find a checkpoint's folder, downloading it from the Hub if need be, and the identity of its weights."""
    embedded = EMBEDDED / model
    if Path(model).name == model and embedded.is_dir():
        return embedded, f"{model}@{hash_folder(embedded)}"
    if Path(model).is_dir():
        return Path(model), f"{Path(model).resolve().name}@{hash_folder(Path(model))}"
    try:
        folder = Path(StableDiffusionPipeline.download(model, variant=variant, revision=revision, use_safetensors=True))
    except (OSError, ValueError) as error:
        raise UserError(
            f"backbone.model: '{model}' is not a local folder and could not be had from the Hugging Face Hub "
            f"({shorten(str(error), 160)}); check the name, or download it once while online"
        ) from error
    return folder, f"{model}@{folder.name}"  # a snapshot's folder is named after its commit


def hash_folder(folder: Path) -> str:
    """Hash of the names and contents of all files that decide what a model computes."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".json", ".safetensors", ".txt"}:
            digest.update(file.relative_to(folder).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def load_pipeline(model: str, folder: Path, variant: str | None) -> StableDiffusionPipeline:
    """Load the folder with diffusers' own pipeline class, safetensors only."""
    try:
        return StableDiffusionPipeline.from_pretrained(
            folder,
            variant=variant,
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"backbone.model: '{model}' is not a Stable Diffusion folder with safetensors weights "
            f"({shorten(str(error), 160)})"
        ) from error
