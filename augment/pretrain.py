"""Train a small latent-diffusion backbone and save it in Stable Diffusion's own folder format.

Two phases in one run: first the autoencoder (reconstruction + KL), then, with the autoencoder frozen, the
denoiser by the epsilon objective of latent diffusion, E ||eps - e_theta(z_t, t, c)||^2 (Rombach et al. 2022, Eq. 2).
The text encoder stays as it was initialised.
"""

from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, StableDiffusionPipeline
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from augment.architecture import (
    MAX_PROMPT_TOKENS,
    build_autoencoder,
    build_denoiser,
    build_text_encoder,
    build_tokenizer,
)
from augment.data import ImageSource, to_tensor


class LatentDiffusion(L.LightningModule):
    """A latent diffusion model in training.

    Args:
        image_size: Height and width of the training images.
        latent_channels: Channels of a latent.
        autoencoder_channels: Widths of the autoencoder's levels; each level but the last halves the image.
        denoiser_channels: Widths of the U-Net's levels; all but the first attend to the prompt.
        autoencoder_steps: Optimizer steps of the first phase; the rest, up to `trainer.max_steps`, train the denoiser.
        autoencoder_lr: Peak learning rate of the first phase.
        denoiser_lr: Peak learning rate of the second phase.
        kl_weight: Of the posterior's divergence from N(0, I), per latent element.
        prompt: The one prompt that every image is trained with.
        prompt_dropout: Share of images trained with the empty prompt instead, for classifier-free guidance.
        jitter: Largest random rotation (degrees / 100), shift and zoom; 0 trains on the images as they are.
    """

    def __init__(
        self,
        image_size: PositiveInt = 32,
        latent_channels: PositiveInt = 4,
        autoencoder_channels: tuple[int, ...] = (16, 32, 32),
        denoiser_channels: tuple[int, ...] = (64, 64),
        autoencoder_steps: PositiveInt = 3000,
        autoencoder_lr: PositiveFloat = 2e-3,
        denoiser_lr: PositiveFloat = 1e-3,
        kl_weight: NonNegativeFloat = 1e-4,
        prompt: str = "a digit",
        prompt_dropout: ClosedUnitInterval = 0.1,
        jitter: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__()
        self.autoencoder_steps = autoencoder_steps
        self.learning_rates = (autoencoder_lr, denoiser_lr)
        self.kl_weight = kl_weight
        self.prompt = prompt
        self.prompt_dropout = prompt_dropout
        self.jitter = jitter
        self.vae = build_autoencoder(image_size, latent_channels, autoencoder_channels)
        self.unet = build_denoiser(image_size >> (len(autoencoder_channels) - 1), latent_channels, denoiser_channels)
        self.tokenizer = build_tokenizer()
        self.text_encoder = build_text_encoder(self.tokenizer).requires_grad_(False)
        # SD 1.5's schedule: alphas_cumprod[t] of z_t = sqrt(alpha_t) z_0 + sqrt(1 - alpha_t) eps.
        self.scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        self.latent_scale: Tensor
        self.register_buffer("latent_scale", torch.ones(()))

    def configure_optimizers(self) -> Any:
        """AdamW with one parameter group, and one cosine schedule, per phase."""
        groups = [
            {"params": list(self.vae.parameters()), "lr": self.learning_rates[0], "weight_decay": 0.0},
            {"params": list(self.unet.parameters()), "lr": self.learning_rates[1], "weight_decay": 1e-4},
        ]
        switch, total = self.autoencoder_steps, int(self.trainer.max_steps)

        def cosine(step: int, first: int, last: int) -> float:
            done = min(max((step - first) / max(last - first, 1), 0.0), 1.0)
            warm = min(1.0, (step - first + 1) / 100) if step >= first else 0.0
            return warm * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * done))))

        optimizer = torch.optim.AdamW(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, [lambda step: cosine(step, 0, switch), lambda step: cosine(step, switch, total)]
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """One step of whichever phase the run is in."""
        images = jitter(batch[0], self.jitter) if self.jitter else batch[0]  # [B, 3, H, W]
        if self.global_step < self.autoencoder_steps:
            return self._autoencoder_loss(images)
        if self.global_step == self.autoencoder_steps:
            self._freeze_autoencoder()
        return self._denoiser_loss(images)

    def _autoencoder_loss(self, images: Tensor) -> Tensor:
        posterior = self.vae.encode(images).latent_dist
        reconstruction = F.mse_loss(self.vae.decode(posterior.sample()).sample, images)
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        self.log_dict({"reconstruction": reconstruction, "divergence": divergence}, prog_bar=True)
        return reconstruction + self.kl_weight * divergence

    def _denoiser_loss(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            z0 = self.vae.encode(images).latent_dist.sample() * self.latent_scale  # [B, C, h, w]
            embeddings = self._embed(len(z0))
        eps = torch.randn_like(z0)
        t = torch.randint(0, self.scheduler.config.num_train_timesteps, (len(z0),), device=z0.device)
        prediction = self.unet(self.scheduler.add_noise(z0, eps, t), t, encoder_hidden_states=embeddings).sample
        loss = F.mse_loss(prediction, eps)
        self.log("epsilon", loss, prog_bar=True)
        return loss

    def _embed(self, count: int) -> Tensor:
        tokens = self.tokenizer(
            [self.prompt, ""],
            padding="max_length",
            max_length=MAX_PROMPT_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).input_ids.to(self.device)
        embeddings = self.text_encoder(tokens)[0]  # [2, S, D]
        dropped = torch.rand(count, device=self.device) < self.prompt_dropout
        return embeddings[dropped.long()]

    @torch.no_grad()
    def _freeze_autoencoder(self) -> None:
        """Freeze the autoencoder and set the scale that gives its latents unit variance."""
        self.vae.requires_grad_(False).eval()
        loader: Any = self.trainer.train_dataloader
        (images,) = loader.dataset.tensors
        latents = torch.cat([self.vae.encode(part.to(self.device)).latent_dist.mean for part in images.split(256)])
        self.latent_scale.fill_(1 / float(latents.std()))

    def save(self, folder: Path) -> None:
        """Write the model as fp16 safetensors in diffusers' Stable Diffusion format."""
        self.vae.register_to_config(scaling_factor=float(self.latent_scale))
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)


class PretrainData(L.LightningDataModule):
    """All images of a source's pool, without their labels.

    Args:
        source: Where the images come from.
        batch_size: Images per optimizer step.
        image_size: Height and width they are resized and cropped to.
    """

    def __init__(self, source: ImageSource, batch_size: PositiveInt = 64, image_size: PositiveInt = 32) -> None:
        super().__init__()
        self.source = source
        self.batch_size = batch_size
        self.image_size = image_size

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Shuffled batches of images [B, 3, H, W] in [-1, 1]."""
        images = torch.stack([to_tensor(self.source.image(item), self.image_size) for item in self.source.pool])
        return DataLoader(TensorDataset(images), self.batch_size, shuffle=True, drop_last=True)


def jitter(images: Tensor, amount: float) -> Tensor:
    """Rotate (up to 100 * amount degrees), shift and zoom (up to the fraction `amount`) each image at random."""
    count = len(images)
    angle, shift_x, shift_y, zoom = (torch.rand(4, count, device=images.device) * 2 - 1) * amount
    angle = torch.deg2rad(angle * 100)
    scale = 1 + zoom
    rows = [
        torch.stack([scale * angle.cos(), -scale * angle.sin(), 2 * shift_x], dim=1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), 2 * shift_y], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)  # [B, H, W, 2]
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
