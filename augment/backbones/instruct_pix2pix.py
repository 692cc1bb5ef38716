"""InstructPix2Pix: a Stable Diffusion that is shown an image and told how to edit it (Brooks et al. 2023)."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from torch import Tensor

from augment.backbones.guidance import Guide, Predict
from augment.backbones.latent import LatentBackbone
from augment.backbones.schedule import Schedule, ddim_schedule, spread
from augment.backbones.start import Condition, Start, join


@dataclass(frozen=True)
class EditGuide(Guide):
    """Guidance by an image and an instruction.

    Attributes:
        image: Clean latents of the images to be edited [B, C, h, w].
        image_guidance: s_I, how closely the edit keeps to them; `guidance` is s_T, how closely it obeys.
    """

    image: Tensor
    image_guidance: float

    def output(self, predict: Predict, z: Tensor, time: float, number: int) -> Tensor:
        """e(0, 0) + s_I (e(I, 0) - e(0, 0)) + s_T (e(I, T) - e(I, 0)), Brooks et al. 2023, Eq. 3.

        Without guidance it is e(I, T) alone, as in diffusers' pipeline.
        """
        told = replace(self.first, image=self.image)
        if self.negative is None or not self.low <= time <= self.high:
            return predict(z, time, told)
        shown = replace(self.negative, image=self.image)
        nothing = replace(self.negative, image=torch.zeros_like(self.image))
        both, image, none = predict(torch.cat([z, z, z]), time, join([told, shown, nothing])).chunk(3)
        return none + self.image_guidance * (image - none) + self.guidance * (both - image)


class InstructPix2Pix(LatentBackbone):
    """A checkpoint such as `timbrooks/instruct-pix2pix`, whose U-Net sees an image beside the noise, run by DDIM.

    Without an image to edit, the network is shown an empty one. With `sampler.eta` 1 the sampler is what diffusers
    calls Euler ancestral, at DDIM's timesteps.

    Args:
        model: The checkpoint: a Hub name, or a local folder in the same format.
        variant: The weight files to load where the checkpoint has several, such as `fp16`.
        revision: The branch, tag or commit to take from the Hub.
        resolution: Height and width of the images in pixels; by default what the checkpoint was trained at.
    """

    inversions = ("ddim",)
    samplers = ("first-order", "dpm++")
    abilities = ("edit", "autoencoder")
    denoiser_part = "unet"

    def __init__(
        self,
        model: str = "timbrooks/instruct-pix2pix",
        variant: str | None = None,
        revision: str | None = None,
        resolution: int | None = None,
    ) -> None:
        without = {"safety_checker": None, "requires_safety_checker": False}
        super().__init__(StableDiffusionInstructPix2PixPipeline, model, variant, revision, resolution, (), (), without)

    @property
    def channels(self) -> int:
        """Channels of a latent: the U-Net takes those of the image on top."""
        return int(self.vae_config["latent_channels"])

    @property
    def grid(self) -> int:
        """The U-Net halves its input once per level below the first."""
        return int(2 ** (len(self.config["block_out_channels"]) - 1))

    def encode_prompt(self, prompt: str) -> Condition:
        """CLIP text embeddings [1, S, D], as Stable Diffusion's."""
        tokenizer = self.pipeline.tokenizer
        length = tokenizer.model_max_length
        tokens = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return Condition(self.pipeline.text_encoder(tokens.input_ids.to(self.device))[0])

    def schedule(self, steps: int) -> Schedule:
        """DDIM's noise levels."""
        return ddim_schedule(self.scheduler_config, steps)

    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The U-Net's output, float32 [B, C, h, w]; the image enters as the autoencoder gave it, not scaled."""
        image = torch.zeros_like(z) if condition.image is None else condition.image / self.vae_config["scaling_factor"]
        seen = torch.cat([z, image.to(z)], dim=1).to(self.dtype)  # [B, 2C, h, w]
        times = spread(time, z).long()
        return self.unet(seen, times, encoder_hidden_states=condition.embeddings).sample.float()

    @property
    def unet(self) -> Any:
        """The denoiser."""
        return self.pipeline.unet

    def _guide(self, start: Start, guidance: float, interval: tuple[float, float]) -> Guide:
        """The start's instructions as conditions, with the images that they are about."""
        guide = super()._guide(start, guidance, interval)
        if start.image is None:
            return guide
        image = start.image.to(self.device, torch.float32)
        return EditGuide(**vars(guide), image=image, image_guidance=start.image_guidance)
