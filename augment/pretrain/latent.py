"""Train a small latent-diffusion backbone and save it in Stable Diffusion's own folder format.

Two phases in one run: first the autoencoder (reconstruction + KL), then, with the autoencoder frozen, the
denoiser by the epsilon objective of latent diffusion, E ||eps - e_theta(z_t, t, c)||^2 (Rombach et al. 2022, Eq. 2).
The text encoder stays as it was initialised.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn

from augment.backbones.stable_diffusion import StableDiffusion
from augment.images.pixels import to_float
from augment.pretrain.base import AUTOENCODER_STEPS, Pretraining, fixed_noise
from augment.pretrain.networks import (
    MAX_PROMPT_TOKENS,
    build_autoencoder,
    build_denoiser,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    load_autoencoder,
)
from augment.pretrain.objective import Denoiser, ddim_sample, epsilon_loss, warmup_cosine
from augment.runtime.numbers import NonNegativeNumber, PositiveNumber

SAMPLES = 32
SCALE_BATCH = 256


class LatentDiffusion(Pretraining):
    """A latent diffusion model in training (Rombach et al. 2022): first the autoencoder, then the denoiser.

    The autoencoder learns mean squared reconstruction error + kl_weight * KL(q(z|x) || N(0, I)); the denoiser learns
    E ||eps - eps_theta(z_t, t, c)||^2 (Eq. 2), eps ~ N(0, I), t uniform, on latents scaled to unit variance. SD 1.5's
    schedule and folder format; the backbone `StableDiffusion` runs it.

    Args:
        image_size: Height and width of the training images.
        latent_channels: Number of channels of a latent.
        autoencoder_channels: Widths of the autoencoder's levels; each level but the last halves the image.
        denoiser_channels: Widths of the U-Net's levels; all but the first attend to the prompt.
        autoencoder_steps: Optimizer steps of the first phase; the rest, up to `trainer.max_steps`, train the denoiser.
            By default 3000, but at most a third of the steps, or of the minutes.
        autoencoder_lr: Peak learning rate of the first phase.
        denoiser_lr: Peak learning rate of the second phase.
        kl_weight: Weight of the posterior's divergence from N(0, I), per latent element.
        prompt: The one prompt that every image is trained with.
        prompt_dropout: Share of images trained with the empty prompt instead, for classifier-free guidance.
        autoencoder: Folder of a finished model whose autoencoder is taken as it is; there is no first phase then, and
            what is said of the autoencoder above has no effect.

    Raises:
        UserError: If `autoencoder` is given and no autoencoder of this size lies there.
    """

    family = StableDiffusion
    kind = "latent diffusion model (SD 1.5's noise schedule, Stable Diffusion's folder format)"

    def __init__(
        self,
        image_size: PositiveInt = 32,
        latent_channels: PositiveInt = 4,
        autoencoder_channels: tuple[int, ...] = (16, 32, 32),
        denoiser_channels: tuple[int, ...] = (64, 64),
        autoencoder_steps: PositiveInt | None = None,
        autoencoder_lr: PositiveNumber = 2e-3,
        denoiser_lr: PositiveNumber = 1e-3,
        kl_weight: NonNegativeNumber = 1e-4,
        prompt: str = "a digit",
        prompt_dropout: ClosedUnitInterval = 0.1,
        autoencoder: str | None = None,
    ) -> None:
        super().__init__()
        self.denoising_from = (autoencoder_steps or AUTOENCODER_STEPS) if autoencoder is None else 0
        self.learning_rates = (float(autoencoder_lr), float(denoiser_lr))  # a checkpoint may hold plain numbers only
        self.kl_weight = kl_weight
        self.prompt = prompt
        self.prompt_dropout = prompt_dropout
        if autoencoder is None:
            self.vae = build_autoencoder(image_size, latent_channels, autoencoder_channels)
        else:
            self.vae = load_autoencoder(autoencoder, image_size)
        channels, side = self.vae.config.latent_channels, image_size >> (len(self.vae.config.block_out_channels) - 1)
        self.latent_shape = (int(channels), int(side), int(side))
        self.unet = build_denoiser(side, channels, denoiser_channels)
        self.tokenizer = build_tokenizer()
        self.text_encoder = build_text_encoder(self.tokenizer).requires_grad_(False)
        self.scheduler = build_scheduler()
        self.latent_scale: Tensor
        self.register_buffer("latent_scale", torch.ones(()))
        self.frozen = False

    def configure_optimizers(self) -> Any:
        """AdamW with one parameter group, and one cosine schedule, per phase."""
        groups = [
            {"params": list(self.vae.parameters()), "lr": self.learning_rates[0], "weight_decay": 0.0},
            {"params": list(self.unet.parameters()), "lr": self.learning_rates[1], "weight_decay": 1e-4},
        ]
        switch, last = self.denoising_from, int(self.trainer.max_steps)
        optimizer = torch.optim.AdamW(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, [lambda step: warmup_cosine(step, 0, switch), lambda step: warmup_cosine(step, switch, last)]
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The U-Net and the autoencoder."""
        return {"U-Net": self.unet, "autoencoder": self.vae}

    @property
    def objective(self) -> str:
        """The loss of whichever phase the run is in."""
        return "reconstruction" if self.global_step < self.denoising_from else "epsilon"

    def training_step(self, images: Tensor, batch_idx: int) -> Tensor:
        """One step of whichever phase the run is in."""
        if self.objective == "reconstruction":
            return self._autoencoder_loss(images)
        if not self.frozen:
            self._freeze_autoencoder()
        return self._denoiser_loss(images)

    def _autoencoder_loss(self, images: Tensor) -> Tensor:
        posterior = self.vae.encode(images).latent_dist
        reconstruction = F.mse_loss(self.vae.decode(posterior.sample()).sample.float(), images)
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        self.log_dict({"reconstruction": reconstruction, "divergence": divergence}, prog_bar=True)
        return reconstruction + self.kl_weight * divergence

    def _denoiser_loss(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            z0 = self.vae.encode(images).latent_dist.sample().float() * self.latent_scale  # [B, C, h, w]
            embeddings = self._embed(len(z0))
        loss = epsilon_loss(self._denoiser(embeddings), z0, self.scheduler)
        self.log("epsilon", loss, prog_bar=True)
        return loss

    def _denoiser(self, embeddings: Tensor) -> Denoiser:
        """eps_theta(z, t, c) for these prompts [B, S, D]."""

        def denoiser(z: Tensor, t: Tensor) -> Tensor:
            output: Tensor = self.unet(z, t, encoder_hidden_states=embeddings).sample
            return output

        return denoiser

    def _embed(self, count: int) -> Tensor:
        """The prompt for most images, the empty one for the others: [count, S, D]."""
        dropped = torch.rand(count, device=self.device) < self.prompt_dropout
        return self._prompts()[dropped.long()]

    def _prompts(self) -> Tensor:
        """Embeddings of the prompt and of the empty one [2, S, D]."""
        tokens = self.tokenizer(
            [self.prompt, ""],
            padding="max_length",
            max_length=MAX_PROMPT_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).input_ids.to(self.device)
        embeddings: Tensor = self.text_encoder(tokens)[0]
        return embeddings

    @torch.no_grad()
    def _freeze_autoencoder(self) -> None:
        """Freeze the autoencoder and set the scale that gives its latents unit variance; in every process the same."""
        self.vae.requires_grad_(False).eval()
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        parts = [to_float(part.to(self.device)) for part in data.images.split(SCALE_BATCH)]
        latents = torch.cat([self.vae.encode(part).latent_dist.mean.float() for part in parts])  # [M, C, h, w]
        self.latent_scale.fill_(self.trainer.strategy.broadcast(1 / float(latents.std())))
        self.frozen = True

    def preview(self, images: Tensor) -> tuple[str, Tensor]:
        """Images above their reconstructions; once the denoiser is learning, samples from fixed noise."""
        if self.global_step <= self.denoising_from:
            reconstructions = self.vae.decode(self.vae.encode(images).latent_dist.mode()).sample
            return "reconstructions", torch.cat([images, reconstructions])
        denoiser = self._denoiser(self._prompts()[:1].expand(SAMPLES, -1, -1))
        noise = fixed_noise(SAMPLES, self.latent_shape, images.device)
        latents = ddim_sample(denoiser, noise, self.scheduler.config, pixels=False)
        return "samples", self.vae.decode(latents / self.latent_scale).sample

    def save(self, folder: Path) -> None:
        """Write the model as fp16 safetensors in diffusers' Stable Diffusion format."""
        self.vae.register_to_config(scaling_factor=float(self.latent_scale))
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=build_tokenizer(),  # ours has in its file how it was last called
            unet=self.unet,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
