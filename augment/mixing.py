"""Which sources, with which weights, does an image mix? The only place that draws random numbers for a mixture.

Every draw is a function of (seed, class, index), never of the method, the rank or the order of work: two methods
with one seed mix the same sources with the same weights, so that a comparison of methods is paired.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jsonargparse.typing import PositiveFloat, PositiveInt

from augment.errors import UserError

DEFAULT_SOURCES = 3


@dataclass(frozen=True)
class Mixing:
    """How the sources of an image and their weights are drawn.

    Args:
        sources: Images mixed into one, drawn at random from the class's few-shot set; null is three, or all of
            them where there are fewer.
        weights: `dirichlet` draws random weights, `centroid` weighs all sources alike.
        concentration: Of the Dirichlet distribution; below 1 one source dominates, large values near the centroid.
    """

    sources: PositiveInt | None = None
    weights: Literal["dirichlet", "centroid"] = "dirichlet"
    concentration: PositiveFloat = 1.0


@dataclass(frozen=True)
class Mixture:
    """The recipe of one image: positions in the class's few-shot set, and their weights (sum 1)."""

    sources: tuple[int, ...]
    weights: tuple[float, ...]


def count_sources(mixing: Mixing, available: int, class_name: str) -> int:
    """How many images of a class are mixed into one.

    Raises:
        UserError: If more are asked for than the class has.
    """
    if mixing.sources is None:
        return min(DEFAULT_SOURCES, available)
    if mixing.sources > available:
        raise UserError(
            f"sources: {mixing.sources} is greater than the {available} shots of class '{class_name}'; "
            f"lower --data.mixing.sources or raise --shots"
        )
    return int(mixing.sources)


def noise_seed(seed: int, label: int, index: int) -> int:
    """Seed of the fresh noise that a stochastic sampler adds to image `index` of class `label`."""
    return int(np.random.SeedSequence([seed, label, index], spawn_key=(1,)).generate_state(1, np.uint64)[0] >> 1)


def draw_mixture(mixing: Mixing, count: int, available: int, seed: int, label: int, index: int) -> Mixture:
    """Draw the recipe of image `index` of class `label`: `count` of its `available` images, and their weights."""
    random = np.random.default_rng([seed, label, index])
    sources = random.permutation(available)[:count]
    if mixing.weights == "centroid":
        weights = np.full(count, 1 / count)
    else:
        weights = random.dirichlet(np.full(count, mixing.concentration))
    return Mixture(tuple(int(s) for s in sources), tuple(float(x) for x in weights))
