"""Starts to images: a Lightning module that denoises and decodes planned batches."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import lightning as L
import torch
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor

from augment.backbones.base import Backbone, Precision
from augment.backbones.sampling import Sampler, Start
from augment.errors import UserError
from augment.inversion import Inversion
from augment.shards import PlannedBatch


@dataclass(frozen=True)
class SynthesisBatch:
    """What goes through the sampler at once, and what is written beside each image."""

    planned: PlannedBatch
    start: Start
    records: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.records)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device; Lightning calls this."""
        return replace(self, start=self.start.to(device))


class Synthesizer(L.LightningModule):
    """Turns starts into images, by default with deterministic DDIM; knows starts, never methods.

    Args:
        backbone: The diffusion model.
        inversion: How the few-shot images are brought into its noise space.
        steps: Of the sampler.
        guidance: Classifier-free guidance; 1 is without.
        prompt: `{class}` stands for the class's name.
        precision: Of the networks while sampling; interpolation is float32 in any case.
        sampler: How steps are made, beside their number and guidance.

    Raises:
        UserError: If the backbone cannot do the inversion or the sampler, or the two do not fit each other.
    """

    def __init__(
        self,
        backbone: Backbone,
        inversion: Inversion = Inversion(),  # noqa: B008  (frozen)
        steps: PositiveInt = 50,
        guidance: NonNegativeFloat = 1.0,
        prompt: str = "a digit",
        precision: Precision = "fp32",
        sampler: Sampler = Sampler(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.inversion = inversion
        self.steps = steps
        self.guidance = float(guidance)
        self.prompt = prompt
        self.precision: Precision = precision
        self.sampler = sampler
        self._check()

    def _check(self) -> None:
        self.backbone.check_inversion(self.inversion.kind)
        self.backbone.check_sampler(self.sampler)
        if self.inversion.kind != "null-text":
            return
        if self.inversion.precision != "fp32":
            raise UserError(
                f"inversion.precision: null-text optimises in fp32, not in {self.inversion.precision}; change it"
            )
        if self.sampler.kind != "first-order" or self.inversion.steps != self.steps:
            raise UserError(
                f"inversion.steps: null-text makes embeddings for each step of the first-order sampler; "
                f"{self.inversion.steps} of the inversion must be the {self.steps} of --model.steps"
            )

    def describe(self) -> dict[str, Any]:
        """Everything about the model that decides an image."""
        inversion = asdict(self.inversion)
        del inversion["warn_psnr"]
        return {
            "backbone": self.backbone.identity,
            "resolution": self.backbone.image_size,
            "inversion": inversion,
            "steps": self.steps,
            "guidance": self.guidance,
            "prompt": self.prompt,
            "precision": self.precision,
            "sampler": asdict(self.sampler),
        }

    def prompt_for(self, class_name: str) -> str:
        """The prompt of a class."""
        return self.prompt.replace("{class}", class_name)

    def predict_step(self, batch: SynthesisBatch, batch_idx: int) -> Tensor:
        """Images of the batch: uint8 [B, H, W, 3] in host memory."""
        latents = self.backbone.denoise(batch.start, self.steps, self.guidance, self.sampler)  # z_0 [B, C, h, w]
        images = self.backbone.decode(latents)  # [B, 3, H, W] in [-1, 1]
        if not bool(torch.isfinite(images).all()):
            raise UserError(f"precision: sampling gave NaN in {self.precision}; use --model.precision fp32")
        pixels = (images / 2 + 0.5).mul(255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu()  # [B, H, W, 3]
