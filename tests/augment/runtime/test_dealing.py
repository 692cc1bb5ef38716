from types import SimpleNamespace

import pytest

from augment.runtime.dealing import deal, dealt_loader


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_units_are_dealt_whole_and_once(count: int, world: int) -> None:
    shares = [deal(range(count), SimpleNamespace(global_rank=rank, world_size=world)) for rank in range(world)]
    assert sorted(unit for share in shares for unit in share) == list(range(count))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_without_a_trainer_everything_is_ours() -> None:
    assert deal("abc", None) == ["a", "b", "c"]


def test_batches_are_made_in_order_when_they_are_asked_for() -> None:
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        return key.upper()

    batches = iter(dealt_loader(make, ["ab", "c", "def"]))
    assert next(batches) == "AB"
    assert made == ["ab"]
    assert list(batches) == ["C", "DEF"]
