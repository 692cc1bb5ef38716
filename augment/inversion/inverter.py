"""Images to noise: a Lightning module that inverts (or only encodes) the few-shot set and fills the latent bank."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from augment.backbones.base import Backbone, allow_tf32
from augment.images.few_shot import Shot
from augment.images.pixels import to_tensor
from augment.images.sources import ImageSource
from augment.inversion.bank import LatentBank, LatentKey
from augment.inversion.draws import image_noise
from augment.inversion.inversion import ENCODED, Inversion, Quality, check_inverted, round_trip
from augment.runtime.dealing import ReadsItsOwnWeights, deal, dealt_loader
from augment.runtime.out_of_memory import Halving
from augment.runtime.processes import check_shared
from augment.runtime.profile import profiler_of

Rows = list[tuple[Shot, LatentKey]]
Parts = list[tuple[Tensor, Tensor | None, Quality]]
"""Per image: z_T [C, h, w], its null-text embeddings [steps, S, D] if there are, and the quality of its round trip."""


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


class Inverter(ReadsItsOwnWeights):
    """Inverts batches of images and measures the round trip back to the image.

    Args:
        backbone: The model whose noise space is entered.
        inversion: How it is entered.
        compile: Compile the denoiser.
        prompts: All prompts that will be asked for; the text encoders' memory is given back once they are encoded.
    """

    def __init__(
        self, backbone: Backbone, inversion: Inversion, compile: bool = False, prompts: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.inversion = inversion
        self.compiled = compile
        self.prompts = tuple(prompts)
        self.inverting: Halving[Parts] = Halving("inverting", "inversion.batch_size")

    def on_predict_start(self) -> None:
        """Float32 means float32: NVIDIA's convolutions would otherwise round their inputs to TF32."""
        self._tf32 = allow_tf32(self.inversion.precision == "tf32")
        self.backbone.prepare(self.compiled)
        if self.prompts:
            self.backbone.keep(self.prompts)

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
        prompts = tuple(key.prompt for key in batch.keys[rows])
        how = None if batch.keys[0].kind == ENCODED else self.inversion
        added = None
        if how is not None and how.forward_steps:
            shape = self.backbone.latent_shape
            added = torch.stack([image_noise(key.image, key.draw, shape) for key in batch.keys[rows]])
        trip = round_trip(self.backbone, batch.images[rows], prompts, how, profiler_of(self.trainer).profile, added)
        noise = trip.noise
        if how is not None:
            for shot, latent, quality in zip(batch.shots[rows], noise.latent, trip.quality, strict=True):
                check_inverted(shot.name, latent, quality.residual, how)
        embeddings = [None] * len(prompts) if noise.unconditional is None else list(noise.unconditional)
        return list(zip(noise.latent, embeddings, trip.quality, strict=True))


class InversionData(L.LightningDataModule):
    """The images of a few-shot set whose latents the bank lacks.

    Args:
        source: Where the images come from.
        shots: The chosen images, each as often as it has latents.
        keys: The keys of the latents, in the same order.
        bank: Where latents lie.
        batch_size: Images per batch.
        image_size: Height and width of the backbone's images.
        folders: Where the processes will write; all must see the same.
    """

    def __init__(
        self,
        source: ImageSource,
        shots: Sequence[Shot],
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
        self.wanted: Rows = list(zip(shots, keys, strict=True))
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
