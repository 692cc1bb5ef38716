"""Stable Diffusion 1.x and 2.x, and anything in its folder format: text encoder, U-Net, DDIM."""

from collections.abc import Sequence
from typing import Any

from diffusers import StableDiffusionPipeline
from torch import Tensor

from augment.backbones.latent import LatentBackbone
from augment.backbones.schedule import Schedule, ddim_schedule, spread
from augment.backbones.start import Condition


class StableDiffusion(LatentBackbone):
    """A Stable Diffusion 1.x or 2.x checkpoint, run by DDIM.

    Whether it predicts eps or v, how timesteps are spaced, and whether the schedule is rescaled to zero terminal
    signal, is read from the checkpoint's scheduler.

    Args:
        model: The checkpoint: a Hub name such as `stable-diffusion-v1-5/stable-diffusion-v1-5`, a local folder in the
            same format, or `digits` for the small model that ships with this package.
        variant: The weight files to load where the checkpoint has several, such as `fp16`.
        revision: The branch, tag or commit to take from the Hub.
        resolution: Height and width of the images in pixels; by default what the checkpoint was trained at.
        loras: LoRA weights to add to the model: safetensors files, folders or Hub names.
        embeddings: Textual-inversion embeddings to add to the model: safetensors files, folders or Hub names.
        tuned: Folder that `augment tune` wrote for this checkpoint.
    """

    inversions = ("ddim", "fixed-point", "null-text", "negative-prompt")
    samplers = ("first-order", "dpm++")
    learns_words = True
    denoiser_part = "unet"

    def __init__(
        self,
        model: str = "digits",
        variant: str | None = None,
        revision: str | None = None,
        resolution: int | None = None,
        loras: Sequence[str] = (),
        embeddings: Sequence[str] = (),
        tuned: str | None = None,
    ) -> None:
        without = {"safety_checker": None, "requires_safety_checker": False}
        super().__init__(
            StableDiffusionPipeline, model, variant, revision, resolution, loras, embeddings, without, tuned
        )

    @property
    def unet(self) -> Any:
        """The denoiser."""
        return self.pipeline.unet

    @property
    def grid(self) -> int:
        """The U-Net halves its input once per level below the first."""
        return int(2 ** (len(self.config["block_out_channels"]) - 1))

    def encode_prompt(self, prompt: str) -> Condition:
        """CLIP text embeddings [1, S, D]."""
        row, _ = self.pipeline.encode_prompt(prompt, self.device, 1, do_classifier_free_guidance=False)
        return Condition(row)

    def schedule(self, steps: int) -> Schedule:
        """DDIM's noise levels."""
        return ddim_schedule(self.scheduler_config, steps)

    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The U-Net's output, float32 [B, C, h, w]."""
        times = spread(time, z).long()
        return self.unet(z.to(self.dtype), times, encoder_hidden_states=condition.embeddings).sample.float()
