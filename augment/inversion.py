"""Images to noise: a Lightning module that inverts the few-shot set in batches and fills the latent bank."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import lightning as L
import torch
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics.functional.image import peak_signal_noise_ratio

from augment.backbones.base import Backbone, Precision, Start
from augment.bank import LatentBank, LatentKey, Quality, check_latent
from augment.data import FewShotSet, ImageSource, Shot, to_tensor
from augment.loading import deal, dealt_loader

Rows = list[tuple[Shot, LatentKey]]


@dataclass(frozen=True)
class Inversion:
    """How images are inverted.

    Args:
        kind: `ddim` runs the deterministic sampler backwards.
        steps: Of the inversion; more steps follow the sampler's path more closely.
        guidance: Classifier-free guidance; inversion works best without it (1).
        precision: Of the networks during the inversion.
        batch_size: Images per call of the networks; changes latents by rounding alone.
        warn_psnr: Images whose round trip stays below this many dB are named in a warning.
    """

    kind: Literal["ddim"] = "ddim"
    steps: PositiveInt = 50
    guidance: NonNegativeFloat = 1.0
    precision: Precision = "fp32"
    batch_size: PositiveInt = 16
    warn_psnr: NonNegativeFloat = 15.0


@dataclass(frozen=True)
class InversionBatch:
    """Images [B, 3, H, W] to invert, with what is known of each."""

    images: Tensor
    shots: tuple[Shot, ...]
    keys: tuple[LatentKey, ...]

    def __len__(self) -> int:
        return len(self.shots)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device; Lightning calls this."""
        return replace(self, images=self.images.to(device))


class Inverter(L.LightningModule):
    """Inverts batches of images and measures the round trip back to the image.

    Args:
        backbone: The model whose noise space is entered.
        inversion: How.
    """

    def __init__(self, backbone: Backbone, inversion: Inversion) -> None:
        super().__init__()
        self.backbone = backbone
        self.inversion = inversion

    def predict_step(self, batch: InversionBatch, batch_idx: int) -> tuple[Tensor, list[Quality]]:
        """Latents z_T [B, C, h, w] and the quality of each round trip."""
        images = batch.images
        prompts = tuple(key.prompt for key in batch.keys)
        how = self.inversion
        clean = self.backbone.encode(images)  # z_0
        noise = self.backbone.invert(clean, prompts, how.steps, how.guidance)  # z_T
        for shot, latent in zip(batch.shots, noise, strict=True):
            check_latent(latent, f"inversion of image '{shot.name}'", "try fewer steps, guidance 1 or precision fp32")
        back = self.backbone.denoise(Start(noise, prompts), how.steps, how.guidance)
        quality = [
            Quality(round_trip, autoencoder)
            for round_trip, autoencoder in zip(
                psnr(self.backbone.decode(back), images),
                psnr(self.backbone.decode(clean), images),
                strict=True,
            )
        ]
        return noise, quality


def psnr(images: Tensor, targets: Tensor) -> list[float]:
    """Peak signal-to-noise ratio in dB of each image in [-1, 1]."""
    values = peak_signal_noise_ratio(images, targets, data_range=2.0, reduction="none", dim=(1, 2, 3))
    return [float(value) for value in values]


def latent_key(shot: Shot, backbone: Backbone, prompt: str, inversion: Inversion) -> LatentKey:
    """The bank's key of one image."""
    return LatentKey(
        image=shot.sha256,
        backbone=backbone.identity,
        prompt=prompt,
        kind=inversion.kind,
        steps=inversion.steps,
        guidance=float(inversion.guidance),
        resolution=backbone.image_size,
        precision=inversion.precision,
    )


class InversionData(L.LightningDataModule):
    """The images of a few-shot set whose latents the bank lacks.

    Args:
        source: Where the images come from.
        few_shot: The chosen images.
        keys: Their keys, in the order of `few_shot.all`.
        bank: Where latents lie.
        batch_size: Images per batch.
        image_size: The backbone's.
    """

    def __init__(
        self,
        source: ImageSource,
        few_shot: FewShotSet,
        keys: Sequence[LatentKey],
        bank: LatentBank,
        batch_size: int,
        image_size: int,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer units than processes
        self.source = source
        self.wanted: Rows = list(zip(few_shot.all, keys, strict=True))
        self.bank = bank
        self.batch_size = batch_size
        self.image_size = image_size
        self.pending: list[Rows] = []

    def setup(self, stage: str) -> None:
        """Find out what is missing; every rank does so before any of them stores a latent.

        A batch with anything missing is inverted whole: its composition never depends on what a killed run left.
        """
        starts = range(0, len(self.wanted), self.batch_size)
        batches = [self.wanted[start : start + self.batch_size] for start in starts]
        self.pending = [rows for rows in batches if any(key not in self.bank for _, key in rows)]

    def predict_dataloader(self) -> DataLoader[InversionBatch]:
        """This rank's share of the missing images."""
        return dealt_loader(self._batch, deal(self.pending, self.trainer))

    def _batch(self, rows: Rows) -> InversionBatch:
        shots, keys = zip(*rows, strict=True)
        images = [to_tensor(self.source.image(shot), self.image_size) for shot in shots]
        return InversionBatch(torch.stack(images), shots, keys)


class BankWriter(L.Callback):
    """Stores each batch of inverted latents as soon as it is made."""

    def __init__(self, bank: LatentBank) -> None:
        self.bank = bank

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: InversionBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store what the bank lacks of the batch."""
        for shot, key, latent, quality in zip(batch.shots, batch.keys, *outputs, strict=True):
            if key not in self.bank:
                self.bank.store(key, latent, quality, shot.name)
