"""Stable Diffusion 3 and 3.5: rectified flow in 16 latent channels, two CLIP encoders and an optional T5."""

from collections.abc import Sequence

from diffusers import StableDiffusion3Pipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from torch import Tensor

from augment.backbones.latent import LatentBackbone
from augment.backbones.schedule import Schedule, flow_schedule, spread
from augment.backbones.start import Condition


class StableDiffusion3(LatentBackbone):
    """A Stable Diffusion 3 or 3.5 checkpoint, run by Euler steps along the flow's velocity.

    Args:
        model: The checkpoint: a Hub name such as `stabilityai/stable-diffusion-3.5-medium`, or a local folder in the
            same format.
        variant: The weight files to load where the checkpoint has several, such as `fp16`.
        revision: The branch, tag or commit to take from the Hub.
        resolution: Height and width of the images in pixels; by default what the checkpoint was trained at.
        loras: LoRA weights to add to the model: safetensors files, folders or Hub names.
        t5: Whether to load the T5 text encoder, the largest of the three (about 9 GB in 16 bit); without it the model
            reads prompts by its CLIP encoders alone, as its authors allow.
        prompt_tokens: The longest prompt that T5 reads, in tokens.
        tuned: Folder that `augment tune` wrote for this checkpoint.
    """

    inversions = ("euler", "fixed-point", "midpoint", "negative-prompt")
    samplers = ("first-order", "midpoint")

    def __init__(
        self,
        model: str = "stabilityai/stable-diffusion-3.5-medium",
        variant: str | None = None,
        revision: str | None = None,
        resolution: int | None = None,
        loras: Sequence[str] = (),
        t5: bool = True,
        prompt_tokens: int = 256,
        tuned: str | None = None,
    ) -> None:
        without = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
        super().__init__(StableDiffusion3Pipeline, model, variant, revision, resolution, loras, (), without, tuned)
        self.prompt_tokens = prompt_tokens
        if prompt_tokens != 256:
            self.identity += f"-tokens{prompt_tokens}"

    @property
    def grid(self) -> int:
        """The transformer cuts latents into patches."""
        return int(self.config["patch_size"])

    def encode_prompt(self, prompt: str) -> Condition:
        """CLIP's and T5's embeddings one after the other [1, S, D], and CLIP's pooled ones [1, P]."""
        row, _, pooled, _ = self.pipeline.encode_prompt(
            prompt,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.prompt_tokens,
        )
        return Condition(row.to(self.dtype), pooled.to(self.dtype))

    def schedule(self, steps: int) -> Schedule:
        """Euler's noise levels, with the checkpoint's shift towards noise (Esser et al. 2024, Eq. 23)."""
        config = self.scheduler_config
        shift = None
        if config.get("use_dynamic_shifting"):
            shift = calculate_shift(
                (self.latent_shape[1] // self.grid) ** 2,
                config.get("base_image_seq_len", 256),
                config.get("max_image_seq_len", 4096),
                config.get("base_shift", 0.5),
                config.get("max_shift", 1.16),
            )
        return flow_schedule(config, steps, shift)

    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The transformer's velocity, float32 [B, C, h, w]."""
        return self.denoiser(
            hidden_states=z.to(self.dtype),
            timestep=spread(time, z),
            encoder_hidden_states=condition.embeddings,
            pooled_projections=condition.pooled,
        ).sample.float()
