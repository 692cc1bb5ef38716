"""PRX: rectified flow in the latents of Flux's autoencoder or of DC-AE, and T5Gemma for the prompts."""

from diffusers import PRXPipeline
from diffusers.utils import is_ftfy_available
from torch import Tensor

from augment.backbones.latent import LatentBackbone
from augment.backbones.schedule import Schedule, flow_schedule, spread
from augment.backbones.start import Condition
from augment.errors import UserError


class PRX(LatentBackbone):
    """A PRX checkpoint of Photoroom, run by Euler steps along the flow's velocity; the network is told t / 1000.

    Args:
        model: The checkpoint: a Hub name such as `Photoroom/prx-512-t2i-sft`, or a local folder in the same format.
        variant: The weight files to load where the checkpoint has several, such as `fp16`.
        revision: The branch, tag or commit to take from the Hub.
        resolution: Height and width of the images in pixels; by default what the checkpoint was trained at.
    """

    inversions = ("euler", "fixed-point", "midpoint", "negative-prompt")
    samplers = ("first-order", "midpoint")

    def __init__(
        self,
        model: str = "Photoroom/prx-512-t2i-sft",
        variant: str | None = None,
        revision: str | None = None,
        resolution: int | None = None,
    ) -> None:
        if not is_ftfy_available():
            raise UserError("backbone", "PRX cleans prompts with the package 'ftfy'", "install chm-augment[prx]")
        super().__init__(PRXPipeline, model, variant, revision, resolution, (), (), {})

    @property
    def grid(self) -> int:
        """The transformer cuts latents into patches."""
        return int(self.config["patch_size"])

    @property
    def native_size(self) -> int:
        """The checkpoint names it."""
        return int(self.settings.default_sample_size)

    def encode_prompt(self, prompt: str) -> Condition:
        """T5Gemma's embeddings of the cleaned prompt [1, S, D], padded as far as its tokenizer does."""
        row, mask, *_ = self.pipeline.encode_prompt(prompt, self.device, do_classifier_free_guidance=False)
        return Condition(row, mask=mask)

    def schedule(self, steps: int) -> Schedule:
        """Euler's noise levels."""
        return flow_schedule(self.scheduler_config, steps)

    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The transformer's velocity, float32 [B, C, h, w]."""
        return self.denoiser(
            hidden_states=z.to(self.dtype),
            timestep=spread(time, z) / self.train_steps,
            encoder_hidden_states=condition.embeddings,
            attention_mask=condition.mask,
        ).sample.float()
