"""How do planned batches reach the ranks? Units of work are dealt whole, in a fixed order, and made one by one."""

from collections.abc import Callable, Sequence, Sized
from itertools import chain
from typing import Generic, TypeVar

import lightning as L
from torch.utils.data import DataLoader, Dataset

Unit = TypeVar("Unit")
Key = TypeVar("Key", bound=Sized)
Batch = TypeVar("Batch")


def deal(pending: Sequence[Unit], trainer: L.Trainer | None) -> list[Unit]:
    """This rank's share: every `world_size`-th unit of what is pending; may be empty."""
    rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
    return list(pending[rank::world_size])


class _Made(Dataset[Batch], Generic[Key, Batch]):
    """A dataset whose element n is `make(n)`: a whole batch."""

    def __init__(self, make: Callable[[Key], Batch]) -> None:
        self.make = make

    def __getitem__(self, key: Key) -> Batch:
        return self.make(key)


def dealt_loader(make: Callable[[Key], Batch], keys: Sequence[Key]) -> DataLoader[Batch]:
    """A loader of the batches `make(key)`, in order; a key's length is its batch's number of images.

    Lightning's own distributed sampler deals single samples and fails where there are fewer than ranks, so
    trainers that run this need `use_distributed_sampler=False`.
    """
    return DataLoader(_Made(make), batch_size=None, sampler=keys)


class ReadsItsOwnWeights(L.LightningModule):
    """A module whose weights every process reads from disk, when it needs them.

    Lightning would send the first process's weights to all others before they predict, and wait for ever where one has
    networks in memory that another has not.
    """

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> set[str]:
        """PyTorch's name for what processes do not send each other: all parameters and buffers."""
        return {name for name, _ in chain(self.named_parameters(), self.named_buffers())}
