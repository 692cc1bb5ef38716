"""What does the classifier see? Batches of real few-shot images and synthetic shards in a fixed proportion."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L
import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveFloat, PositiveInt
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from augment.data import ImageSource, Item
from augment.errors import UserError
from augment.few_shot import choose_few_shot_set
from classify.synthetic import Labelled, check_same_few_shot_set, shuffled, synthetic_stream


@dataclass(frozen=True)
class Batches:
    """How training batches are put together.

    Args:
        batch_size: Images per optimizer step, real and synthetic together, over all processes.
        synthetic_fraction: Share of each batch that is synthetic; 0 is the real-only baseline.
        image_size: Height and width the classifier sees.
        crop_scale: Range of the area of timm's random resized crop.
        crop_ratio: Range of its aspect ratio.
        hflip: Probability of a horizontal flip.
        color_jitter: Strength of timm's colour jitter.
        auto_augment: timm's policy string, such as `rand-m9-mstd0.5`; null is none.
        workers: Loader processes.
        cache_gib: A synthetic set is held in memory, decoded, if it needs less than this; a larger one is streamed.
    """

    batch_size: PositiveInt = 64
    synthetic_fraction: ClosedUnitInterval = 0.5
    image_size: PositiveInt = 224
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    hflip: ClosedUnitInterval = 0.5
    color_jitter: ClosedUnitInterval = 0.4
    auto_augment: str | None = None
    workers: NonNegativeInt = 0
    cache_gib: PositiveFloat = 2.0

    @property
    def synthetic_count(self) -> int:
        """Synthetic images per batch."""
        return round(int(self.batch_size) * float(self.synthetic_fraction))


class ClassificationData(L.LightningDataModule):
    """A few-shot set, the synthetic dataset made from it, and the test images.

    Args:
        source: Where the real images come from.
        shots: Real images per class; null takes the whole pool.
        seed: Chooses the few-shot set: the same seed as the synthetic dataset's.
        synthetic: Folder of the synthetic dataset; null trains on real images alone.
        batches: How training batches are put together.
        skip_bad: Pass over real images that cannot be read instead of stopping.
    """

    def __init__(
        self,
        source: ImageSource,
        shots: PositiveInt | None = 5,
        seed: NonNegativeInt = 0,
        synthetic: str | None = None,
        batches: Batches = Batches(),
        skip_bad: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.batches = batches
        self.skip_bad = skip_bad
        self.seed = seed
        self.few_shot = choose_few_shot_set(self.source, shots, seed, skip_bad=skip_bad)
        self.synthetic = Path(synthetic) if synthetic is not None else None
        self.mean: tuple[float, ...] = (0.5, 0.5, 0.5)
        self.std: tuple[float, ...] = (0.5, 0.5, 0.5)
        if self.synthetic is not None:
            check_same_few_shot_set(self.synthetic, self.few_shot)

    @property
    def num_classes(self) -> int:
        """Number of classes of the source."""
        return len(self.few_shot.classes)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Endless batches (images [B, 3, H, W], labels [B])."""
        transform = create_transform(
            self.batches.image_size,
            is_training=True,
            scale=self.batches.crop_scale,
            ratio=self.batches.crop_ratio,
            hflip=self.batches.hflip,
            color_jitter=self.batches.color_jitter,
            auto_augment=self.batches.auto_augment,
            interpolation="bicubic",
            mean=self.mean,
            std=self.std,
        )
        rank, world = self._place()
        if self.batches.batch_size % world:
            raise UserError(
                f"batches.batch_size: {self.batches.batch_size} images cannot be shared by {world} processes; "
                f"choose a multiple"
            )
        share = replace(self.batches, batch_size=self.batches.batch_size // world)
        real = [(self.source.image(shot), shot.label) for shot in self.few_shot.all]
        mixed = MixedBatches(real, self.synthetic, share, transform, self.seed, rank, world)
        return DataLoader(mixed, batch_size=None, num_workers=self.batches.workers)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """This process's share of the test images, in order."""
        rank, world = self._place()
        transform = create_transform(
            self.batches.image_size, interpolation="bicubic", mean=self.mean, std=self.std, crop_pct=1.0
        )
        # Dealt without padding, so that every test image counts once whatever the number of processes.
        images = Images(self.source, self.source.test[rank::world], transform)
        return DataLoader(images, self.batches.batch_size, num_workers=self.batches.workers)


class Images(Dataset[tuple[Tensor, int]]):
    """Images of a source, transformed, with their labels."""

    def __init__(self, source: ImageSource, items: Sequence[Item], transform: Callable[[Image.Image], Tensor]) -> None:
        self.source = source
        self.items = items
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        item = self.items[position]
        return self.transform(self.source.image(item)), item.label


class MixedBatches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches with a fixed number of synthetic images in each.

    Every process and loader worker takes its own positions of one shuffled stream, so that each image is used
    equally often whatever their number, and every process gets as many batches as it asks for.
    """

    def __init__(
        self,
        real: Sequence[Labelled],
        synthetic: Path | None,
        batches: Batches,
        transform: Callable[[Image.Image], Tensor],
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.real = real
        self.synthetic = synthetic
        self.batches = batches
        self.transform = transform
        self.seed = seed
        self.rank = rank
        self.world = world

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        lane, lanes = self.rank * workers + number, self.world * workers
        real = shuffled(self.real, self.seed, lane, lanes)
        made = self.batches.synthetic_count if self.synthetic is not None else 0
        synthetic = (
            synthetic_stream(self.synthetic, self.batches.cache_gib, self.seed, lane, lanes) if self.synthetic else None
        )
        while True:
            images = [next(real) for _ in range(self.batches.batch_size - made)]
            if synthetic is not None:
                images += [next(synthetic) for _ in range(made)]
            pixels = torch.stack([self.transform(image) for image, _ in images])
            yield pixels, torch.tensor([label for _, label in images])
