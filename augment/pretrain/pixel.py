"""Train a small diffusion model on pixels and save it in the folder format of diffusers' DDPMPipeline."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from augment.backbones.pixel import PixelDiffusion
from augment.pretrain.base import Pretraining, fixed_noise
from augment.pretrain.networks import build_pixel_denoiser
from augment.pretrain.objective import ddim_sample, epsilon_loss, warmup_cosine
from augment.runtime.numbers import PositiveNumber

SAMPLES = 32


class DDPM(Pretraining):
    """A denoising diffusion model on pixels in training (Ho et al. 2020): E ||eps - eps_theta(x_t, t)||^2, Eq. 14.

    Its schedule is the paper's, 1,000 linear betas from 1e-4 to 0.02; it reads no prompts. The backbone
    `PixelDiffusion` runs it.

    Args:
        image_size: Height and width of the training images.
        channels: Widths of the U-Net's levels, each half the size of the one above; all but the first attend.
        lr: Peak learning rate.
        warmup_steps: Optimizer steps over which the learning rate rises; then it falls to 0 like a cosine.
    """

    family = PixelDiffusion
    kind = "pixel diffusion model (DDPM's linear noise schedule, DDPMPipeline's folder format)"

    def __init__(
        self,
        image_size: PositiveInt = 32,
        channels: tuple[int, ...] = (64, 128, 128),
        lr: PositiveNumber = 5e-4,
        warmup_steps: NonNegativeInt = 100,
    ) -> None:
        super().__init__()
        self.lr = float(lr)  # a checkpoint may hold plain numbers only
        self.warmup_steps = max(warmup_steps, 1)
        self.unet = build_pixel_denoiser(image_size, channels)
        self.scheduler = DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=True)
        self.image_shape = (3, int(image_size), int(image_size))

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The U-Net."""
        return {"U-Net": self.unet}

    @property
    def objective(self) -> str:
        """There is one loss."""
        return "epsilon"

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up and cosine."""
        optimizer = torch.optim.AdamW(self.unet.parameters(), self.lr, weight_decay=1e-4)
        last = int(self.trainer.max_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, 0, last, self.warmup_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, images: Tensor, batch_idx: int) -> Tensor:
        """The epsilon objective on one batch."""
        loss = epsilon_loss(self._denoise, images, self.scheduler)
        self.log("epsilon", loss, prog_bar=True)
        return loss

    def _denoise(self, z: Tensor, t: Tensor) -> Tensor:
        output: Tensor = self.unet(z, t).sample
        return output

    def preview(self, images: Tensor) -> tuple[str, Tensor]:
        """Samples from fixed noise."""
        noise = fixed_noise(SAMPLES, self.image_shape, images.device)
        return "samples", ddim_sample(self._denoise, noise, self.scheduler.config, pixels=True)

    def save(self, folder: Path) -> None:
        """Write the model as fp16 safetensors in the format of diffusers' DDPMPipeline."""
        pipeline = DDPMPipeline(self.unet, self.scheduler)
        pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
