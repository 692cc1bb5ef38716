"""Stable Diffusion XL: two text encoders, a U-Net that is told the image's size, DDIM."""

from collections.abc import Sequence

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from augment.backbones.latent import LatentBackbone
from augment.backbones.schedule import Schedule, ddim_schedule, spread
from augment.backbones.start import Condition


class StableDiffusionXL(LatentBackbone):
    """An SDXL base checkpoint, run by DDIM; images are conditioned as uncropped ones of the chosen resolution.

    Args:
        model: The checkpoint: a Hub name such as `stabilityai/stable-diffusion-xl-base-1.0`, or a local folder in the
            same format.
        variant: The weight files to load where the checkpoint has several, such as `fp16`.
        revision: The branch, tag or commit to take from the Hub.
        resolution: Height and width of the images in pixels; by default what the checkpoint was trained at.
        loras: LoRA weights to add to the model: safetensors files, folders or Hub names.
        tuned: Folder that `augment tune` wrote for this checkpoint.
    """

    inversions = ("ddim", "fixed-point", "null-text", "negative-prompt")
    samplers = ("first-order", "dpm++")
    denoiser_part = "unet"

    def __init__(
        self,
        model: str = "stabilityai/stable-diffusion-xl-base-1.0",
        variant: str | None = None,
        revision: str | None = None,
        resolution: int | None = None,
        loras: Sequence[str] = (),
        tuned: str | None = None,
    ) -> None:
        # The pipeline's watermark is applied to its PIL images, which are never made here.
        super().__init__(
            StableDiffusionXLPipeline,
            model,
            variant,
            revision,
            resolution,
            loras,
            (),
            {"add_watermarker": False},
            tuned,
        )

    @property
    def grid(self) -> int:
        """The U-Net halves its input once per level below the first."""
        return int(2 ** (len(self.config["block_out_channels"]) - 1))

    def load(self) -> None:
        """Read all networks; the autoencoder computes in float32 where fp16 would overflow it."""
        super().load()
        if self.dtype == torch.float16 and self.vae_config["force_upcast"]:
            self.vae.to(torch.float32)

    def encode_prompt(self, prompt: str) -> Condition:
        """Both encoders' embeddings side by side [1, S, D], and the second one's pooled ones [1, P]."""
        row, _, pooled, _ = self.pipeline.encode_prompt(prompt, device=self.device, do_classifier_free_guidance=False)
        if not prompt and self.settings.config.force_zeros_for_empty_prompt:
            return Condition(torch.zeros_like(row), torch.zeros_like(pooled))
        return Condition(row, pooled)

    def schedule(self, steps: int) -> Schedule:
        """DDIM's noise levels."""
        return ddim_schedule(self.scheduler_config, steps)

    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The U-Net's output, float32 [B, C, h, w]."""
        times = spread(time, z).long()
        side = self.image_size
        # original height and width, top and left of the crop, target height and width (Podell et al. 2023, Sec. 2.2)
        sizes = torch.zeros(len(z), 6, device=z.device, dtype=self.dtype)
        sizes[:, [0, 1, 4, 5]] = side
        return self.denoiser(
            z.to(self.dtype),
            times,
            encoder_hidden_states=condition.embeddings,
            added_cond_kwargs={"text_embeds": condition.pooled, "time_ids": sizes},
        ).sample.float()
