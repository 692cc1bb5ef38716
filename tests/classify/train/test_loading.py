"""A user's mistake met by a loader's worker arrives as it was raised."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from augment.errors import UserError
from classify.train.loading import Loader


class Samples(Dataset[tuple[torch.Tensor, int]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        if position == 4:
            raise UserError("image 'a.png'", "cannot be read", "replace it or set `skip_bad`")
        return torch.full((3,), position), position


class Batches(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        for position in range(2):
            yield torch.full((3,), position)
        raise UserError("image 'a.png'", "cannot be read", "replace it or set `skip_bad`")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ["samples", "batches"])
def test_a_mistake_arrives_with_its_parts_after_the_batches_before_it(kind: str, workers: int) -> None:
    loader = Loader.of_samples(Samples(), 2, workers) if kind == "samples" else Loader.of_batches(Batches(), workers)
    arrived = []
    with pytest.raises(UserError) as mistake:
        for batch in loader:
            arrived.append(batch)
    assert len(arrived) == 2
    assert mistake.value.argument == "image 'a.png'"
    assert mistake.value.remedy == "replace it or set `skip_bad`"


def test_samples_are_collated_as_usual() -> None:
    images, labels = next(iter(Loader.of_samples(Samples(), 2, 0)))
    assert torch.equal(images, torch.tensor([[0, 0, 0], [1, 1, 1]]))
    assert torch.equal(labels, torch.tensor([0, 1]))
