"""How does a loader's worker say what is wrong? A user's mistake travels as a value, and is raised on arrival."""

from collections.abc import Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from augment.errors import UserError

Sample = TypeVar("Sample")
Batch = TypeVar("Batch")


class _Samples(Dataset[Any]):
    """A dataset that gives a mistake in the place of the sample where it was met."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> Any:
        try:
            return self.samples[position]
        except UserError as error:
            return error


class _Batches(IterableDataset[Any]):
    """A stream of batches that ends with the mistake, if one is met."""

    def __init__(self, batches: IterableDataset[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.batches
        except UserError as error:
            yield error


def _collate(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, UserError)), None) or default_collate(samples)


class Loader(DataLoader[Batch]):
    """A DataLoader from whose workers a `UserError` arrives as it was raised, not as the text of a traceback.

    Use `of_samples` or `of_batches`.
    """

    @classmethod
    def of_samples(cls, samples: Dataset[Sample], batch_size: int, workers: int) -> "Loader[Any]":
        """Batches of `batch_size` samples, in order."""
        return cls(_Samples(samples), batch_size, num_workers=workers, collate_fn=_collate)

    @classmethod
    def of_batches(cls, batches: IterableDataset[Batch], workers: int) -> "Loader[Batch]":
        """A stream of ready batches."""
        return cls(_Batches(batches), batch_size=None, num_workers=workers)

    def __iter__(self) -> Any:
        """Batches; each mistake is raised where its batch would have come."""
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch
