"""Which images come next, and which random numbers? Both follow from a batch's number, however often a run stopped."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


class NumberedBatches:
    """Seeded, endless batches of images: those of an epoch are a shuffled pass over all of them.

    Lightning keeps the number of the next batch in its checkpoints (`state_dict`), and ends an epoch after `len` of
    them, so that a resumed run sees what it would have seen. Together the processes have the same images in a batch,
    whatever their number.

    Args:
        images: Of any shape [M, ...].
        batch_size: Images in a batch of all processes; those that are left over at an epoch's end are left out.
        seed: Of the run.
        rank: Of this process.
        processes: How many share a batch.

    Example:
        >>> import torch
        >>> from augment.pretrain.batches import NumberedBatches
        >>> batches = NumberedBatches(torch.arange(5), batch_size=2, seed=0)
        >>> images, seed = next(iter(batches))
        >>> len(images), len(batches)
        (2, 2)
    """

    def __init__(self, images: Tensor, batch_size: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self._number = 0

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        """This process's share of a batch, and the seed of all random numbers that are drawn for it."""
        while True:
            number = self._number
            self._number += 1  # before the batch is trained on, and a checkpoint written
            yield self._batch(number), self._seed_of(number)

    def state_dict(self) -> dict[str, Any]:
        """The number of the next batch."""
        return {"number": self._number}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with that batch."""
        self._number = state_dict["number"]

    def _batch(self, number: int) -> Tensor:
        epoch, place = divmod(number, len(self))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))
        share = self.batch_size // self.processes
        first = place * self.batch_size + self.rank * share
        return self.images[torch.from_numpy(order[first : first + share])]

    def _seed_of(self, number: int) -> int:
        return int(np.random.SeedSequence([self.seed, number, self.rank]).generate_state(1)[0])
