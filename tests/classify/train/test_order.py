"""The order of training images: who is drawn, how often, and instead of whom."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice

import pytest
import torch
from PIL import Image

from classify.train.batches import Batches
from classify.train.order import Example, hold, in_proportion, pooled, replaced, shuffled

COUNT = 20_000


def example(name: str, label: int = 0, sources: tuple[str, ...] = (), synthetic: bool = False) -> Example:
    return Example(name, label, partial(Image.new, "RGB", (4, 4)), (), sources, synthetic)


REAL = [example(f"r{n}", label=n % 2) for n in range(6)]
MADE = [
    *(example(f"s{n}", 0, ("r0", "r2"), synthetic=True) for n in range(4)),
    *(example(f"t{n}", 0, synthetic=True) for n in range(3)),
]
"""r0 and r2 have images of their own, r4 only those of its class, and the class of r1, r3 and r5 has none."""


def names(stream: Iterator[Example], count: int) -> list[str]:
    return [example.name for example in islice(stream, count)]


def test_lanes_partition_the_shuffled_chain() -> None:
    whole = list(islice(shuffled(range(5), 7, 0, 1), 30))
    assert [sorted(whole[n : n + 5]) for n in range(0, 30, 5)] == [list(range(5))] * 6
    assert whole[:5] != whole[5:10]
    lanes = [list(islice(shuffled(range(5), 7, lane, 3), 10)) for lane in range(3)]
    assert [lanes[n % 3][n // 3] for n in range(30)] == whole


def test_a_proportion_is_kept_batch_by_batch() -> None:
    drawn = names(in_proportion(shuffled(REAL, 0, 0, 1), shuffled(MADE, 0, 0, 1), 5, 2), 30)
    assert [[name[0] == "r" for name in drawn[n : n + 5]] for n in range(0, 30, 5)] == [[True] * 3 + [False] * 2] * 6


def test_a_share_of_one_leaves_no_real_image() -> None:
    """What DiffDA-Eval calls total replacement."""
    batches = Batches(batch_size=5, synthetic_fraction=1.0)
    batches.check(synthetic=True, processes=1)
    drawn = names(in_proportion(shuffled(REAL, 0, 0, 1), shuffled(MADE, 0, 0, 1), 5, batches.synthetic_count), 30)
    assert set(drawn) == {example.name for example in MADE}


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize(("fraction", "made"), [(0.25, 2), (0.5, 6), (10 / 11, 60)])
def test_a_pass_over_the_pool_has_each_real_image_once(fraction: float, made: int, lanes: int) -> None:
    """Ratios 1:3, 1:1 and 10:1 of synthetic to real; all lanes together make the pass."""
    assert Batches(synthetic_fraction=fraction).pooled_count(len(REAL)) == made
    passes, size = 6, len(REAL) + made
    streams = [pooled(REAL, shuffled(MADE, 1, n, lanes), made, 5, n, lanes) for n in range(lanes)]
    drawn = [names(stream, passes * size // lanes) for stream in streams]
    together = [name for group in zip(*drawn, strict=True) for name in group]
    assert len(together) == passes * size
    for n in range(passes):
        real = sorted(name for name in together[n * size : (n + 1) * size] if name[0] == "r")
        assert real == sorted(example.name for example in REAL)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_real_images_are_replaced_with_the_given_probability(probability: float) -> None:
    originals = names(shuffled(REAL, 3, 0, 1), COUNT)
    drawn = names(replaced(shuffled(REAL, 3, 0, 1), MADE, probability, 3, 0), COUNT)
    assert drawn == names(replaced(shuffled(REAL, 3, 0, 1), MADE, probability, 3, 0), COUNT)
    for name in ("r0", "r2", "r4"):
        pairs = Counter(new == name for old, new in zip(originals, drawn, strict=True) if old == name)
        total = sum(pairs.values())
        deviation = (total * probability * (1 - probability)) ** 0.5
        assert abs(pairs[False] - total * probability) < 4 * deviation


def test_an_image_is_replaced_by_its_own_then_by_its_class_or_not_at_all() -> None:
    originals = names(shuffled(REAL, 3, 0, 1), COUNT)
    drawn = names(replaced(shuffled(REAL, 3, 0, 1), MADE, 1.0, 3, 0), COUNT)
    became = {e.name: Counter(new for old, new in zip(originals, drawn, strict=True) if old == e.name) for e in REAL}
    own, all_of_class = {e.name for e in MADE[:4]}, {e.name for e in MADE}
    assert set(became["r0"]) == set(became["r2"]) == own
    assert set(became["r4"]) == all_of_class
    assert all(set(became[name]) == {name} for name in ("r1", "r3", "r5"))
    for name, choices in (("r0", own), ("r4", all_of_class)):
        expected = sum(became[name].values()) / len(choices)
        assert all(abs(count - expected) < 5 * expected**0.5 for count in became[name].values())


@pytest.mark.parametrize(("probability", "expected"), [(0.0, True), (1.0, False)])
def test_replacement_with_certainty(probability: float, expected: bool) -> None:
    drawn = names(replaced(shuffled(REAL[::2], 0, 0, 1), MADE, probability, 0, 0), 100)
    assert all(name.startswith("r") == expected for name in drawn)


def test_lanes_replace_differently() -> None:
    first, second = (names(replaced(iter(REAL[::2] * 20), MADE, 0.5, 0, lane), 60) for lane in range(2))
    assert [name[0] == "r" for name in first] != [name[0] == "r" for name in second]


def test_hard_and_soft_targets() -> None:
    hard = example("h", label=2, synthetic=True)
    soft = Example("s", 1, hard.load, ((1, 0.25), (3, 0.75)), synthetic=True)
    assert hard.target(4).tolist() == [0, 0, 1, 0]
    assert soft.target(4).tolist() == [0, 0.25, 0, 0.75]


def test_smoothing_is_pytorchs_and_spares_real_images() -> None:
    real, made = example("r", label=1), example("s", label=1, synthetic=True)
    assert real.target(3, 0.3).tolist() == [0, 1, 0]
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    smoothed = torch.nn.functional.cross_entropy(logits, torch.tensor([1]), label_smoothing=0.3)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, made.target(3, 0.3)[None]), smoothed)


def test_as_many_images_are_held_as_fit() -> None:
    loads = Counter[str]()

    def load(name: str) -> Image.Image:
        loads[name] += 1
        return Image.new("RGB", (4, 4))

    examples = [Example(name, 0, partial(load, name)) for name in "abc"]
    held = hold(examples, 2 * 48)
    assert [example.held is not None for example in held] == [True, True, False]
    loads.clear()
    for example in held * 2:
        assert example.image().size == (4, 4)
    assert loads == {"c": 2}
    assert [example.name for example in held] == ["a", "b", "c"]
