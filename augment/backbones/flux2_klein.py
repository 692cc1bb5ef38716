"""FLUX.2 klein base: rectified flow on patches of the autoencoder's latents, and Qwen3 for the prompts."""

from collections.abc import Sequence

import torch
from diffusers import Flux2KleinPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from torch import Tensor

from augment.backbones.latent import LatentBackbone
from augment.backbones.schedule import Schedule, flow_schedule, spread
from augment.backbones.start import Condition


class Flux2Klein(LatentBackbone):
    """A FLUX.2 klein base checkpoint, run by Euler steps along the flow's velocity.

    The network sees the autoencoder's latents cut into patches of 2 x 2, each number scaled by the autoencoder's batch
    norm: 128 channels on a grid half as fine. A latent here is the same numbers, scaled, at their places before the
    cut: [B, 32, h, w]. So the channel means that `chm` adjusts are those of the autoencoder's own 32 channels, each
    taken over the whole image and not over one of the four places in a patch.

    Args:
        model: The checkpoint: a Hub name such as `black-forest-labs/FLUX.2-klein-base-4B`, or a local folder in the
            same format.
        variant: The weight files to load where the checkpoint has several, such as `fp16`.
        revision: The branch, tag or commit to take from the Hub.
        resolution: Height and width of the images in pixels; by default 1024.
        loras: LoRA weights to add to the model: safetensors files, folders or Hub names.
        prompt_tokens: The length that prompts are padded or cut to, in tokens; the network sees the padding too.
        tuned: Folder that `augment tune` wrote for this checkpoint.
    """

    inversions = ("euler", "fixed-point", "midpoint", "negative-prompt")
    samplers = ("first-order", "midpoint")
    grid = 2
    """Latents are cut into patches of 2 x 2."""

    def __init__(
        self,
        model: str = "black-forest-labs/FLUX.2-klein-base-4B",
        variant: str | None = None,
        revision: str | None = None,
        resolution: int | None = None,
        loras: Sequence[str] = (),
        prompt_tokens: int = 512,
        tuned: str | None = None,
    ) -> None:
        super().__init__(Flux2KleinPipeline, model, variant, revision, resolution, loras, (), {}, tuned)
        self.prompt_tokens = prompt_tokens
        if prompt_tokens != 512:
            self.identity += f"-tokens{prompt_tokens}"

    @property
    def native_size(self) -> int:
        """What the pipeline makes if it is not told a size."""
        return 128 * self.scale

    @property
    def channels(self) -> int:
        """The autoencoder's own."""
        return int(self.vae_config["latent_channels"])

    def encode(self, images: Tensor) -> Tensor:
        """The mode of the autoencoder's posterior, scaled by its batch norm [B, C, h, w]."""
        patches = self._cut(self._encoder().encode(images.to(self.vae.dtype)).latent_dist.mode().float())
        mean, std = self._scale()
        return self._join((patches - mean) / std)

    def decode(self, latents: Tensor) -> Tensor:
        """The autoencoder's decoder, clamped to the range of images."""
        mean, std = self._scale()
        unscaled = self._join(self._cut(latents.float()) * std + mean)
        return self.vae.decode(unscaled.to(self.vae.dtype)).sample.float().clamp(-1, 1)  # [B, 3, H, W]

    def encode_prompt(self, prompt: str) -> Condition:
        """Three layers of Qwen3 side by side [1, S, D]."""
        row, _ = self.pipeline.encode_prompt(prompt, self.device, max_sequence_length=self.prompt_tokens)
        return Condition(row)

    def schedule(self, steps: int) -> Schedule:
        """Euler's noise levels, with the shift that belongs to this resolution and this number of steps."""
        shift = compute_empirical_mu((self.latent_shape[1] // 2) ** 2, steps)
        return flow_schedule(self.scheduler_config, steps, shift, last_sigma=1 / steps)

    def predict(self, z: Tensor, time: float | Tensor, condition: Condition) -> Tensor:
        """The transformer's velocity, float32 [B, C, h, w]."""
        patches = self._cut(z)  # [B, 4 C, h / 2, w / 2]
        height, width = patches.shape[2:]
        velocity = self.denoiser(
            hidden_states=patches.flatten(2).transpose(1, 2).to(self.dtype),  # [B, h w / 4, 4 C]
            timestep=spread(time, z) / self.train_steps,
            guidance=None,
            encoder_hidden_states=condition.embeddings,
            txt_ids=places(1, 1, condition.embeddings.shape[1], z.device),
            img_ids=places(height, width, 1, z.device),
        ).sample
        return self._join(velocity.transpose(1, 2).unflatten(2, (height, width)).float())

    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel of the patches, float32 [1, 4 C, 1, 1]."""
        norm = self.vae.bn
        mean, variance = (part.float().view(1, -1, 1, 1) for part in (norm.running_mean, norm.running_var))
        return mean, (variance + self.vae_config["batch_norm_eps"]).sqrt()

    def _cut(self, latents: Tensor) -> Tensor:
        return self.pipeline._patchify_latents(latents)

    def _join(self, patches: Tensor) -> Tensor:
        return self.pipeline._unpatchify_latents(patches)


def places(height: int, width: int, words: int, device: torch.device) -> Tensor:
    """Where each token stands, as the transformer counts: [height * width * words, (image, row, column, word)]."""
    axes = (torch.arange(size, device=device) for size in (1, height, width, words))
    return torch.cartesian_prod(*axes)
