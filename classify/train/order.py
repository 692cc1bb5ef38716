"""Which image comes next? Endless, seeded streams of real and synthetic examples, shared by processes and workers.

Every process and loader worker is a lane: it takes its own positions of one shuffled chain, so that all lanes
together use each image equally often, whatever their number, and every lane goes on for as long as it is asked.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Example:
    """One training image, decoded when it is asked for.

    Args:
        name: Of the real image, or key of the synthetic one.
        label: Index of its class.
        load: Decodes it.
        soft: Pairs of class and weight (sum 1) where the label is soft; empty where it is hard.
        sources: Names of the real images that a synthetic one was made from.
        synthetic: Whether it is one.
        held: The decoded image, where it is kept in memory.
    """

    name: str
    label: int
    load: Callable[[], Image.Image]
    soft: tuple[tuple[int, float], ...] = ()
    sources: tuple[str, ...] = ()
    synthetic: bool = False
    held: Image.Image | None = None

    def image(self) -> Image.Image:
        """The decoded image."""
        return self.load() if self.held is None else self.held

    def target(self, num_classes: int, synthetic_smoothing: float = 0.0) -> Tensor:
        """Class probabilities [num_classes]; those of a synthetic image are smoothed towards uniform."""
        if self.soft:
            labels, weights = zip(*self.soft, strict=True)
            target = torch.zeros(num_classes).index_add_(0, torch.tensor(labels), torch.tensor(weights))
        else:
            target = F.one_hot(torch.tensor(self.label), num_classes).float()
        smoothing = synthetic_smoothing if self.synthetic else 0.0
        return target * (1 - smoothing) + smoothing / num_classes


def hold(examples: Sequence[Example], budget: float) -> list[Example]:
    """Keep decoded images in memory, in order, until `budget` bytes are spent; the others are decoded when drawn."""
    held: list[Example] = []
    for example in examples:
        image = example.image()
        budget -= image.width * image.height * len(image.getbands())
        if budget < 0:
            break
        held.append(replace(example, held=image))
    return [*held, *examples[len(held) :]]


def shuffled(samples: Sequence[Any], seed: int, lane: int, lanes: int) -> Iterator[Any]:
    """Every `lanes`-th element, from `lane` on, of the endless chain of seeded permutations of `samples`."""
    generator = torch.Generator().manual_seed(seed)
    position = 0
    while True:
        for n in torch.randperm(len(samples), generator=generator).tolist():
            if position % lanes == lane:
                yield samples[n]
            position += 1


def in_proportion(
    real: Iterator[Example], synthetic: Iterator[Example], batch_size: int, synthetic_count: int
) -> Iterator[Example]:
    """Batch after batch with exactly `synthetic_count` synthetic examples in each."""
    while True:
        for _ in range(batch_size - synthetic_count):
            yield next(real)
        for _ in range(synthetic_count):
            yield next(synthetic)


def pooled(
    real: Sequence[Example], synthetic: Iterator[Example], count: int, seed: int, lane: int, lanes: int
) -> Iterator[Example]:
    """Shuffled passes over a pool of each real example once and the next `count` synthetic ones."""
    places: list[Example | None] = [*real, *[None] * count]
    for example in shuffled(places, seed, lane, lanes):
        yield next(synthetic) if example is None else example


def replaced(
    real: Iterator[Example], synthetic: Sequence[Example], probability: float, seed: int, lane: int
) -> Iterator[Example]:
    """Real examples, each replaced with `probability` by a synthetic one made from it (DA-Fusion).

    Where no synthetic image names the real one as its source, any of its class takes its place; a class without
    synthetic images keeps its real ones. Trabucco et al., *Effective Data Augmentation With Diffusion Models*.
    """
    made_from: dict[str, list[Example]] = defaultdict(list)
    of_class: dict[int, list[Example]] = defaultdict(list)
    for example in synthetic:
        of_class[example.label].append(example)
        for source in example.sources:
            made_from[source].append(example)
    random = np.random.default_rng([seed, lane])
    for example in real:
        choices = made_from.get(example.name) or of_class.get(example.label)
        if random.random() < probability and choices:
            yield choices[random.integers(len(choices))]
        else:
            yield example
