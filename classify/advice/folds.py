"""How is a few-shot set dealt into folds? Stratified, near-duplicates together, no fold twice: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from augment.images.few_shot import FewShotSet, Shot

MOST_DEALS = 200
"""Of a few images there are not many folds; after so many deals no new one is looked for."""


@dataclass(frozen=True)
class Fold:
    """Some images to train on, and the others to be judged by.

    Attributes:
        number: Tells it from all others of the same advice; chooses initial weights, order and mixtures.
        train: The images that are trained on.
        held: The images that are held out.
    """

    number: int
    train: tuple[Shot, ...]
    held: tuple[Shot, ...]

    @property
    def shots(self) -> int:
        """Training images of the class that has the fewest: every class gives so many."""
        labels = [shot.label for shot in self.train]
        return min(labels.count(label) for label in set(labels))

    @property
    def ratio(self) -> float:
        """Held-out images for each that is trained on (n2 / n1 of Nadeau & Bengio)."""
        return len(self.held) / (self.shots * len({shot.label for shot in self.train}))


def deal(members: FewShotSet, groups: Sequence[Sequence[int]], folds: int, seed: Sequence[int]) -> list[list[int]]:
    """Deal the images into folds once.

    Each group goes to the fold that has the fewest images of its class; the order of the groups, and of the folds for
    each class, is random.

    Args:
        members: The images, counted class by class.
        groups: Places of images that must stay together.
        folds: How many.
        seed: Decides the order.

    Returns:
        The places of the images that each fold holds out.
    """
    random = np.random.default_rng(seed)
    labels = [shot.label for shot in members.all]
    counts = np.zeros((folds, len(members.classes)), dtype=int)
    order = {label: random.permutation(folds) for label in members.labels}
    held: list[list[int]] = [[] for _ in range(folds)]
    shuffled = [groups[n] for n in random.permutation(len(groups))]
    for group in sorted(shuffled, key=len, reverse=True):  # large ones first, so that small ones can even them out
        label = labels[group[0]]
        chosen = min(order[label], key=lambda fold: counts[fold, label])
        held[chosen] += group
        for place in group:
            counts[chosen, labels[place]] += 1
    return held


def make_folds(
    members: FewShotSet, groups: Sequence[Sequence[int]], folds: int, wanted: tuple[int, int], seed: int
) -> tuple[list[Fold], list[Fold]]:
    """Folds to search with, and fresh ones that play no part in the search.

    Args:
        members: The images, the same number of each class.
        groups: Places of images that must stay together, each image in one group.
        folds: Into so many every class is dealt, or into one for each image where there are fewer.
        wanted: How many folds of each kind.
        seed: Deals.

    Returns:
        Both kinds. Where the images have fewer folds than are wanted, each kind gets its share of them.
    """
    images = members.all
    size = min(folds, min(len(shots) for shots in members.shots if shots))
    found: dict[frozenset[int], Fold] = {}
    for turn in range(MOST_DEALS):
        for places in deal(members, groups, size, [seed, turn]):
            held = frozenset(places)
            train = tuple(shot for place, shot in enumerate(images) if place not in held)
            if not held or held in found or {shot.label for shot in train} != set(members.labels):
                continue
            found[held] = Fold(len(found), train, tuple(images[place] for place in sorted(held)))
        if len(found) >= sum(wanted):
            break
    all_folds = list(found.values())[: sum(wanted)]
    searched = wanted[0]
    if len(all_folds) < sum(wanted):
        searched = round(len(all_folds) * wanted[0] / sum(wanted))
    return all_folds[:searched], all_folds[searched:]
