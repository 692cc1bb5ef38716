"""Z-Image: rectified flow in Flux's latents, told how clean they are, and Qwen3 for the prompts."""

from collections.abc import Sequence

import torch
from diffusers import ZImagePipeline
from diffusers.pipelines.z_image.pipeline_z_image import calculate_shift
from torch import Tensor
from torch.nn.functional import pad

from augment.backbones.latent import LatentBackbone
from augment.backbones.schedule import Schedule, flow_schedule, spread
from augment.backbones.start import Condition


class ZImage(LatentBackbone):
    """A Z-Image base checkpoint, run by Euler steps along the flow's velocity.

    The network is told (1000 - t) / 1000, and its output is the velocity towards the image: the negative of what the
    other families predict. Its authors count guidance from the conditional side, output + g (output - unconditional),
    so that 0 is without. Here `guidance` means the same for all families, and 1 is without: give g + 1.

    Args:
        model: The checkpoint: a Hub name such as `Tongyi-MAI/Z-Image`, or a local folder in the same format.
        variant: The weight files to load where the checkpoint has several, such as `fp16`.
        revision: The branch, tag or commit to take from the Hub.
        resolution: Height and width of the images in pixels; by default 1024.
        loras: LoRA weights to add to the model: safetensors files, folders or Hub names.
        prompt_tokens: The longest prompt that is read, in tokens.
        tuned: Folder that `augment tune` wrote for this checkpoint.
    """

    inversions = ("euler", "fixed-point", "midpoint", "negative-prompt")
    samplers = ("first-order", "midpoint")
    grid = 2
    """The transformer cuts latents into patches of 2 x 2."""
    native_size = 1024
    """What the pipeline makes if it is not told a size."""

    def __init__(
        self,
        model: str = "Tongyi-MAI/Z-Image",
        variant: str | None = None,
        revision: str | None = None,
        resolution: int | None = None,
        loras: Sequence[str] = (),
        prompt_tokens: int = 512,
        tuned: str | None = None,
    ) -> None:
        super().__init__(ZImagePipeline, model, variant, revision, resolution, loras, (), {}, tuned)
        self.prompt_tokens = prompt_tokens
        if prompt_tokens != 512:
            self.identity += f"-tokens{prompt_tokens}"

    def encode_prompt(self, prompt: str) -> Condition:
        """Qwen3's last layer but one [1, S, D], the same S for all prompts; the mask says how much of it is prompt."""
        (row,), _ = self.pipeline.encode_prompt(
            prompt, self.device, do_classifier_free_guidance=False, max_sequence_length=self.prompt_tokens
        )
        mask = torch.arange(self.prompt_tokens, device=row.device) < len(row)
        return Condition(pad(row, (0, 0, 0, self.prompt_tokens - len(row)))[None], mask=mask[None])

    def schedule(self, steps: int) -> Schedule:
        """Euler's noise levels, with the shift that belongs to this resolution where the checkpoint asks for it."""
        config = self.scheduler_config
        shift = calculate_shift(
            (self.latent_shape[1] // 2) ** 2,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        return flow_schedule(config, steps, shift, last_sigma=1 / steps)

    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The transformer's velocity, float32 [B, C, h, w]."""
        assert condition.mask is not None
        prompts = [row[mask] for row, mask in zip(condition.embeddings, condition.mask, strict=True)]
        outputs = self.denoiser(
            list(z.to(self.dtype).unsqueeze(2)),  # each [C, 1, h, w]: an image is a film of one frame
            (self.train_steps - spread(time, z)) / self.train_steps,
            prompts,
        ).sample
        return -torch.stack([output.float() for output in outputs]).squeeze(2)
