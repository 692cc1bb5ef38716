"""What does the classifier see? Batches of real few-shot images and synthetic shards in a fixed proportion."""

import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import webdataset as wds
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveFloat, PositiveInt
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from webdataset.autodecode import DecodingError

from augment.data import FewShotSet, ImageSource, Item, choose_few_shot_set
from augment.errors import UserError
from augment.manifest import read_manifest

Labelled = tuple[Image.Image, int]


@dataclass(frozen=True)
class Batches:
    """How training batches are put together.

    Args:
        batch_size: Images per optimizer step, real and synthetic together.
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
        seed: int = 0,
        synthetic: str | None = None,
        batches: Batches = Batches(),
        skip_bad: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.batches = batches
        self.seed = seed
        self.few_shot = choose_few_shot_set(self.source, shots, seed, skip_bad=skip_bad)
        self.synthetic = Path(synthetic) if synthetic is not None else None
        self.mean, self.std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
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
        real = [(self.source.image(shot), shot.label) for shot in self.few_shot.all]
        mixed = MixedBatches(real, self.synthetic, self.batches, transform, self.seed, rank, world)
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
        synthetic = synthetic_stream(self.synthetic, self.batches, self.seed, lane, lanes) if self.synthetic else None
        while True:
            images = [next(real) for _ in range(self.batches.batch_size - made)]
            if synthetic is not None:
                images += [next(synthetic) for _ in range(made)]
            pixels = torch.stack([self.transform(image) for image, _ in images])
            yield pixels, torch.tensor([label for _, label in images])


def shuffled(samples: Sequence[Any], seed: int, lane: int, lanes: int) -> Iterator[Any]:
    """Every `lanes`-th element, from `lane` on, of the endless chain of seeded permutations of `samples`."""
    generator = torch.Generator().manual_seed(seed)
    position = 0
    while True:
        for n in torch.randperm(len(samples), generator=generator).tolist():
            if position % lanes == lane:
                yield samples[n]
            position += 1


def synthetic_stream(folder: Path, batches: Batches, seed: int, lane: int, lanes: int) -> Iterator[Labelled]:
    """Endless shuffled synthetic images: from memory if they fit, else from the shards through a shuffle buffer."""
    manifest = read_manifest(folder)
    shards = [str(folder / name) for name in manifest["shards"]]
    count = sum(shard["samples"] for shard in manifest["shards"].values())
    side = manifest["config"]["resolution"]
    if count * side * side * 3 < batches.cache_gib * 2**30:
        yield from shuffled(list(read_synthetic(folder)), seed + 1, lane, lanes)
    # Whole shards are drawn at random, differently in each lane; the buffer mixes the samples of several.
    draw = seed * lanes + lane
    urls = wds.ResampledShards(shards, seed=draw, deterministic=True, worker_seed=lambda: 0)
    buffer = wds.shuffle(2000, rng=random.Random(draw))
    yield from as_labelled(wds.DataPipeline(urls, wds.tarfile_to_samples(), buffer))


def read_synthetic(folder: Path) -> Iterator[Labelled]:
    """All synthetic images of a dataset folder with their labels, in order."""
    shards = [str(folder / name) for name in read_manifest(folder)["shards"]]
    yield from as_labelled(wds.WebDataset(shards, shardshuffle=False, empty_check=False))


def as_labelled(stream: Any) -> Iterator[Labelled]:
    """Decode a stream of samples; a broken one is an error, not a smaller dataset."""
    try:
        for image, label in stream.compose(wds.decode("pilrgb"), wds.to_tuple("png;jpg;webp", "cls")):
            yield image, int(label)
    except (DecodingError, OSError, ValueError, tarfile.TarError) as error:
        raise UserError(f"synthetic: a shard cannot be read ({error!r}); `augment verify` names it") from error


def check_same_few_shot_set(folder: Path, few_shot: FewShotSet) -> None:
    """Refuse a synthetic set of other classes, or one made from other real images than the classifier trains on.

    Raises:
        UserError: If it is one, or is not finished.
    """
    manifest = read_manifest(folder)
    if not manifest["shards"]:
        raise UserError(f"synthetic: '{folder}' is not finished; run `augment synthesize` on it again")
    if tuple(manifest["classes"]) != few_shot.classes:
        raise UserError(
            f"synthetic: '{folder}' has classes {manifest['classes'][:5]}, the source has "
            f"{list(few_shot.classes)[:5]}; use the source it was made from"
        )
    theirs = {shot["sha256"]: shot["name"] for shot in manifest["few_shot"]}
    labels = {shot["label"] for shot in manifest["few_shot"]}  # `--classes` may have left some out
    ours = {shot.sha256: shot.name for shot in few_shot.all if shot.label in labels}
    foreign = [(theirs | ours)[sha256] for sha256 in theirs.keys() ^ ours.keys()]
    if foreign:
        raise UserError(
            f"synthetic: '{folder}' was made from another few-shot set ('{min(foreign)}' is not in both); "
            f"use the same source, --data.shots and --data.seed"
        )
