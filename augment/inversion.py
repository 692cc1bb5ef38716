"""Images to noise: a Lightning module that inverts (or only encodes) the few-shot set and fills the latent bank."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics.functional.image import peak_signal_noise_ratio

from augment.backbones.base import Backbone, Precision, allow_tf32
from augment.backbones.inversions import InversionKind
from augment.backbones.sampling import Inverted, Sampler, Start
from augment.bank import LatentBank, LatentKey, Quality, check_latent
from augment.data import ImageSource, to_tensor
from augment.errors import UserError
from augment.few_shot import FewShotSet, Shot
from augment.loading import deal, dealt_loader
from augment.memory import Halving
from augment.processes import check_shared
from augment.stopwatch import Stopwatch

Rows = list[tuple[Shot, LatentKey]]
Parts = list[tuple[Tensor, Tensor | None, Quality]]
"""Per image: z_T [C, h, w], its null-text embeddings [steps, S, D] if there are, and the quality of its round trip."""

ENCODED = "encoded"
"""The kind of a bank's entry that is a clean latent: an image that was encoded and never inverted."""


@dataclass(frozen=True)
class Inversion:
    """How images are inverted.

    Args:
        kind: `ddim` (`euler` for flow models) runs the deterministic sampler backwards, each step trusting the network
            at its near end; `fixed-point` solves each step; `midpoint` (flow models) is of second order; `null-text`
            optimises unconditional embeddings for each step so that guidance leads back to the image;
            `negative-prompt` is its fast form, with the prompt itself for "no prompt".
        steps: Of the inversion; more steps follow the sampler's path more closely.
        guidance: Classifier-free guidance; inversion works best without it (1). `null-text` and `negative-prompt`
            invert without it, and prepare for this much on the way back.
        tolerance: `fixed-point`: relative change that ends a step's iteration; `null-text`: mean squared error of a
            latent at which its embeddings are good enough.
        iterations: Most iterations, or optimiser steps, per step.
        precision: Of the networks during the inversion.
        batch_size: Images per call of the networks; changes latents by rounding alone.
        warn_psnr: Images whose round trip stays below this many dB are named in a warning.
    """

    kind: InversionKind = "ddim"
    steps: PositiveInt = 50
    guidance: NonNegativeFloat = 1.0
    tolerance: NonNegativeFloat = 1e-5
    iterations: PositiveInt = 10
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
        stopwatch: Measures its stages.
        compile: Compile the denoiser.
    """

    def __init__(
        self, backbone: Backbone, inversion: Inversion, stopwatch: Stopwatch | None = None, compile: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.inversion = inversion
        self.stopwatch = stopwatch or Stopwatch()
        self.compiled = compile
        self.inverting: Halving[Parts] = Halving("inverting", "--model.inversion.batch_size")

    def on_predict_start(self) -> None:
        """Float32 means float32: NVIDIA's convolutions would otherwise round their inputs to TF32."""
        self._tf32 = allow_tf32(self.inversion.precision == "tf32")
        self.backbone.prepare(self.compiled)

    def on_predict_end(self) -> None:
        """Leave the global switches as they were."""
        allow_tf32(*self._tf32)

    def predict_step(self, batch: InversionBatch, batch_idx: int) -> Parts:
        """Latents z_T [B, C, h, w] and the quality of each round trip, in as many parts as memory asks for.

        Raises:
            UserError: If an inversion diverges, naming the image.
        """
        return list(chain.from_iterable(self.inverting(lambda rows: self._invert(batch, rows), len(batch))))

    def _invert(self, batch: InversionBatch, rows: slice) -> Parts:
        images, shots = batch.images[rows], batch.shots[rows]
        prompts = tuple(key.prompt for key in batch.keys[rows])
        how = self.inversion
        with self.stopwatch.stage("encode"):
            clean = self.backbone.encode(images)  # z_0
        if batch.keys[0].kind == ENCODED:
            alone = psnr(self.backbone.decode(clean), images)
            return [(latent, None, Quality(value, value)) for latent, value in zip(clean, alone, strict=True)]
        with self.stopwatch.stage("invert"):
            inverted = invert_latents(self.backbone, clean, prompts, how)
            residuals = inverted.residual.tolist()
            for shot, latent, residual in zip(shots, inverted.latent, residuals, strict=True):
                check_inverted(shot.name, latent, residual, how)
        with self.stopwatch.stage("round trip"):
            back = self.backbone.decode(go_back(self.backbone, inverted, prompts, how))
            rows_of = zip(psnr(back, images), psnr(self.backbone.decode(clean), images), residuals, strict=True)
            quality = [Quality(round_trip, autoencoder, residual) for round_trip, autoencoder, residual in rows_of]
        none = [None] * len(shots)
        embeddings = none if inverted.unconditional is None else list(inverted.unconditional)
        return list(zip(inverted.latent, embeddings, quality, strict=True))


def invert_latents(backbone: Backbone, clean: Tensor, prompts: Sequence[str], how: Inversion) -> Inverted:
    """Clean latents z_0 [B, C, h, w] to noise, as the settings say."""
    return backbone.invert(clean, prompts, how.steps, how.guidance, how.kind, how.tolerance, how.iterations)


def go_back(backbone: Backbone, inverted: Inverted, prompts: Sequence[str], how: Inversion) -> Tensor:
    """Noise to clean latents z_0 [B, C, h, w], by the sampler that the inversion is the reverse of."""
    negative = tuple(prompts) if how.kind == "negative-prompt" else None
    start = Start(inverted.latent, tuple(prompts), unconditional=inverted.unconditional, negative=negative)
    sampler = Sampler("midpoint" if how.kind == "midpoint" else "first-order")
    return backbone.denoise(start, how.steps, how.guidance, sampler)


DIVERGED = 0.5
"""Residual of `fixed-point` above which its result means nothing."""


def check_inverted(name: str, latent: Tensor, residual: float, how: Inversion) -> None:
    """Refuse an inversion that diverged.

    Raises:
        UserError: Naming the image, its residual, and what helps.
    """
    remedy = "try guidance 1, more steps or precision fp32"
    norm = float(latent.float().square().mean().sqrt())
    measured = (
        f"residual {residual:.2g}, norm/sqrt(L) {norm:.3g}" if how.kind == "fixed-point" else f"norm/sqrt(L) {norm:.3g}"
    )
    check_latent(latent, f"inversion of image '{name}' ({how.kind}, guidance {how.guidance:g}; {measured})", remedy)
    if residual > DIVERGED:
        raise UserError(
            f"inversion of image '{name}' diverged: residual {residual:.2g} after {how.iterations} iterations at "
            f"guidance {how.guidance:g}; {remedy}"
        )


def psnr(images: Tensor, targets: Tensor) -> list[float]:
    """Peak signal-to-noise ratio in dB of each image in [-1, 1]."""
    values = peak_signal_noise_ratio(images, targets, data_range=2.0, reduction="none", dim=(1, 2, 3))
    return [float(value) for value in values]


def latent_key(shot: Shot, backbone: Backbone, prompt: str, inversion: Inversion) -> LatentKey:
    """The bank's key of one image."""
    iterative = inversion.kind in ("fixed-point", "null-text")
    return LatentKey(
        image=shot.sha256,
        backbone=backbone.identity,
        prompt=prompt,
        kind=inversion.kind,
        steps=inversion.steps,
        guidance=float(inversion.guidance),
        resolution=backbone.image_size,
        precision=inversion.precision,
        tolerance=float(inversion.tolerance) if iterative else 0.0,
        iterations=inversion.iterations if iterative else 0,
    )


def encoded_key(shot: Shot, backbone: Backbone, inversion: Inversion) -> LatentKey:
    """The bank's key of one image's clean latent: neither prompt nor schedule decides it."""
    return LatentKey(
        image=shot.sha256,
        backbone=backbone.identity,
        prompt="",
        kind=ENCODED,
        steps=0,
        guidance=1.0,
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
        folders: Where the processes will write; all must see the same.
    """

    def __init__(
        self,
        source: ImageSource,
        few_shot: FewShotSet,
        keys: Sequence[LatentKey],
        bank: LatentBank,
        batch_size: int,
        image_size: int,
        folders: Sequence[Path] = (),
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer units than processes
        self.prepare_data_per_node = False  # one shared file system
        self.source = source
        self.wanted: Rows = list(zip(few_shot.all, keys, strict=True))
        self.bank = bank
        self.batch_size = batch_size
        self.image_size = image_size
        self.folders = folders
        self.pending: list[Rows] = []

    def setup(self, stage: str) -> None:
        """Find out what is missing; every rank does so before any of them stores a latent.

        A batch with anything missing is inverted whole: its composition never depends on what a killed run left.
        """
        check_shared(self.trainer, *self.folders)
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
        for shot, key, (latent, embeddings, quality) in zip(batch.shots, batch.keys, outputs, strict=True):
            if key not in self.bank:
                self.bank.store(key, latent, quality, shot.name, embeddings)
