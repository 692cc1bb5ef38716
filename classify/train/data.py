"""What does the classifier see? The few-shot set and the synthetic set as training batches, and the test images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from augment.dataset.verify import check_unaltered
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageSource, Item
from classify.train.augmentation import Transform, mix, normalise, train_transform
from classify.train.batches import Batches as Batches
from classify.train.filter import Filtered, keep_recognised
from classify.train.loading import Loader
from classify.train.order import Example, hold, in_proportion, pooled, replaced, shuffled
from classify.train.sealed_source import Sealed
from classify.train.synthetic import SyntheticSet, check_same_few_shot_set, read_index, shrink


class ClassificationData(L.LightningDataModule):
    """A few-shot set, the synthetic dataset made from it, and the test images.

    Args:
        source: Gives the real images: the few-shot pool and the test images.
        shots: Number of real images per class; null takes the whole pool.
        seed: Chooses the few-shot set and orders the training images; it must be the synthetic dataset's seed.
        synthetic: Folder of the synthetic dataset; null trains on real images alone.
        batches: How training batches are put together.
        skip_bad: Pass over real images that cannot be read instead of stopping.
        synthetic_filter: An extractor (`digits`, a timm model, `local-dir:FOLDER`) that drops the synthetic images
            whose class it does not recognise; null keeps all.
    """

    def __init__(
        self,
        source: ImageSource,
        shots: PositiveInt | None = 5,
        seed: NonNegativeInt = 0,
        synthetic: str | None = None,
        batches: Batches = Batches(),  # noqa: B008  (frozen)
        skip_bad: bool = False,
        synthetic_filter: str | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.batches = batches
        self.skip_bad = skip_bad
        self.shots = shots
        self.seed = seed
        self.few_shot = choose_few_shot_set(self.source, shots, seed, skip_bad=skip_bad)
        self.synthetic = Path(synthetic) if synthetic is not None else None
        self.synthetic_filter = synthetic_filter
        self.filtered: Filtered | None = None
        self.normalise_with((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        batches.check(synthetic is not None, processes=1)
        if self.synthetic is not None:
            check_same_few_shot_set(self.synthetic, self.few_shot)
            check_unaltered(self.synthetic, "synthetic")

    def normalise_with(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Scale images as the network's weights expect; see `Classifier.normalisation`.

        Args:
            mean: Of each channel, of images in [0, 1].
            std: Standard deviation of each channel.
        """
        self.mean = mean
        self.std = std

    @contextmanager
    def sealed(self) -> Iterator[Sealed]:
        """Keep the test images shut away inside this block, but for what its `opened` encloses.

        However the block ends, the source is the open one again.
        """
        source = self.source
        self.source = sealed = Sealed(source)
        try:
            yield sealed
        finally:
            self.source = source

    @property
    def num_classes(self) -> int:
        """Number of classes of the source."""
        return len(self.few_shot.classes)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Endless batches: uint8 images [B, 3, H, W], and labels [B], or [B, num_classes] where they are soft."""
        rank, world = self._place()
        self.batches.check(self.synthetic is not None, world)
        share = replace(self.batches, batch_size=self.batches.batch_size // world)
        budget = self.batches.cache_gib * 2**30 / world
        # Decoded here and not in the workers, which inherit the memory.
        real = hold(self._real(), budget)
        synthetic = self._synthetic(real, budget)
        transform = train_transform(self.batches, self.mean)
        mixed = MixedBatches(real, synthetic, share, transform, self.num_classes, self.seed, rank, world)
        return Loader.of_batches(mixed, self.batches.workers)

    def _real(self) -> list[Example]:
        read = partial(read_real, self.source, self.batches.useful_side)
        return [Example(shot.name, shot.label, partial(read, shot)) for shot in self.few_shot.all]

    def _synthetic(self, real: Sequence[Example], budget: float) -> SyntheticSet | None:
        if self.synthetic is None:
            return None
        index = read_index(self.synthetic, self.batches.useful_side)
        found = index.cached(budget, stream_others=self.batches.synthetic_use != "replace")
        if self.synthetic_filter is None:
            return found
        examples, self.filtered = keep_recognised(found.examples, real, self.few_shot.classes, self.synthetic_filter)
        return replace(found, examples=examples)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """On the device: scale a training batch, and mix its images where that is asked for."""
        if self.trainer is None or not self.trainer.training:
            return batch
        images, labels = batch
        images = normalise(images, self.mean, self.std)
        if self.batches.mixup or self.batches.cutmix:
            targets = F.one_hot(labels, self.num_classes).float() if labels.ndim == 1 else labels
            seed = [self.seed, self.trainer.global_step, self.trainer.global_rank]
            images, labels = mix(images, targets, self.batches.mixup, self.batches.cutmix, seed)
        # Lightning casts a batch before this hook, where it still was uint8.
        return self.trainer.precision_plugin.convert_input((images, labels))

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
        return Loader.of_samples(images, self.batches.batch_size, self.batches.workers)


def read_real(source: ImageSource, side: int, item: Item) -> Image.Image:
    """The decoded image, no larger than a random crop can use."""
    return shrink(source.image(item), side)


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
    """Endless batches of real and synthetic images; every process gets as many as it asks for.

    Args:
        real: The few-shot set.
        synthetic: The synthetic set; None trains on real images alone.
        batches: With the batch size of one process.
        transform: From an image to uint8 [3, H, W].
        num_classes: Length of a soft label.
        seed: Of the order.
        rank: Of this process.
        world: Number of processes.
    """

    def __init__(
        self,
        real: Sequence[Example],
        synthetic: SyntheticSet | None,
        batches: Batches,
        transform: Transform,
        num_classes: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.real = real
        self.synthetic = synthetic
        self.batches = batches
        self.transform = transform
        self.num_classes = num_classes
        self.seed = seed
        self.rank = rank
        self.world = world
        examples = synthetic.examples if synthetic is not None else ()
        self.soft = any(example.soft for example in examples) or (bool(examples) and batches.synthetic_smoothing > 0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        draws = self._draws(self.rank * workers + number, self.world * workers)
        while True:
            examples = [next(draws) for _ in range(self.batches.batch_size)]
            images = torch.stack([self.transform(example.image()) for example in examples])
            yield images, self._labels(examples)

    def _draws(self, lane: int, lanes: int) -> Iterator[Example]:
        real = shuffled(self.real, self.seed, lane, lanes)
        if self.synthetic is None:
            return real
        if self.batches.synthetic_use == "replace":
            return replaced(real, self.synthetic.examples, self.batches.synthetic_fraction, self.seed, lane)
        synthetic = self.synthetic.stream(self.seed, lane, lanes)
        if self.batches.synthetic_use == "pool":
            count = self.batches.pooled_count(len(self.real))
            return pooled(self.real, synthetic, count, self.seed, lane, lanes)
        return in_proportion(real, synthetic, self.batches.batch_size, self.batches.synthetic_count)

    def _labels(self, examples: Sequence[Example]) -> Tensor:
        if not self.soft:
            return torch.tensor([example.label for example in examples])
        smoothing = self.batches.synthetic_smoothing
        return torch.stack([example.target(self.num_classes, smoothing) for example in examples])
