"""Which sources, weights and noise does a synthetic image have? The only place that draws its random numbers.

Every draw is a function of (seed, class, index), never of the method, the rank or the order of work: two methods
with one seed mix the same sources with the same weights, so that a comparison of methods is paired. A method of
fewer sources takes the first of the same draw; methods with fresh noise or a random share have them in common too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.errors import UserError
from augment.runtime.numbers import PositiveNumber

DEFAULT_SOURCES = 3


@dataclass(frozen=True)
class Mixing:
    """How the sources of an image and their weights are drawn.

    Args:
        sources: Images mixed into one, drawn at random from the class's few-shot set; null is three, or all of
            them where there are fewer. Methods of one image, or of pairs, take the first one or two.
        weights: `dirichlet` draws random weights, `centroid` weighs all sources alike.
        concentration: Concentration of the Dirichlet distribution; below 1 one source dominates, large values come
            near the centroid.
    """

    sources: PositiveInt | None = None
    weights: Literal["dirichlet", "centroid"] = "dirichlet"
    concentration: PositiveNumber = 1.0


@dataclass(frozen=True)
class Mixture:
    """The recipe of one image: positions among the class's latents (shot by shot), and their weights (sum 1)."""

    sources: tuple[int, ...]
    weights: tuple[float, ...]


def count_sources(mixing: Mixing, available: int, class_name: str, kind: str = "shots") -> int:
    """How many of a class's images are mixed into one, or of their latents where each image has several.

    Raises:
        UserError: If more are asked for than the class has.
    """
    if mixing.sources is None:
        return min(DEFAULT_SOURCES, available)
    if mixing.sources > available:
        raise UserError(
            "mixing.sources",
            f"{mixing.sources} is greater than the {available} {kind} of class '{class_name}'",
            "lower `mixing.sources` or raise `shots`",
        )
    return int(mixing.sources)


def noise_seed(seed: int, label: int, index: int) -> int:
    """Seed of the fresh noise that a stochastic sampler adds to image `index` of class `label`."""
    return _torch_seed(_stream(seed, label, index, 1))


@dataclass(frozen=True)
class Draws:
    """The random numbers of image `index` of class `label` beside its mixture, each from a stream of its own."""

    seed: int
    label: int
    index: int

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal noise, float32, made in host memory so that it is the same for every device."""
        generator = torch.Generator().manual_seed(_torch_seed(self._stream(2)))
        return torch.randn(shape, generator=generator)

    def uniform(self) -> float:
        """A number from [0, 1)."""
        return float(np.random.default_rng(self._stream(3)).random())

    def choose(self, count: int) -> int:
        """A number from 0 to `count` - 1."""
        return int(np.random.default_rng(self._stream(4)).integers(count))

    def other_class(self, labels: Sequence[int]) -> int:
        """One of `labels` that is not the image's own."""
        others = [label for label in labels if label != self.label]
        return others[int(np.random.default_rng(self._stream(5)).integers(len(others)))]

    def prompt(self, count: int) -> int:
        """Which of so many prompts the image is made with."""
        return int(np.random.default_rng(self._stream(6)).integers(count)) if count > 1 else 0

    def perturbations(self, count: int, channels: int) -> tuple[Tensor, Tensor]:
        """Numbers from [0, 1) and standard normal ones, float32 [count, channels, 1, 1]; more leave the first alone."""
        random = np.random.default_rng(self._stream(7))
        rows = [(random.random(channels), random.standard_normal(channels)) for _ in range(count)]
        uniform, normal = (
            torch.from_numpy(np.stack(part)).float()[..., None, None] for part in zip(*rows, strict=True)
        )
        return uniform, normal

    def pattern(self) -> np.random.Generator:
        """The random numbers of a fractal, which takes as many as it has points."""
        return np.random.default_rng(self._stream(8))

    def _stream(self, number: int) -> np.random.SeedSequence:
        return _stream(self.seed, self.label, self.index, number)


def _stream(seed: int, label: int, index: int, number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, label, index], spawn_key=(number,))


def _torch_seed(stream: np.random.SeedSequence) -> int:
    return int(stream.generate_state(1, np.uint64)[0] >> 1)


def draw_mixture(mixing: Mixing, count: int, available: int, seed: int, label: int, index: int) -> Mixture:
    """Draw the recipe of image `index` of class `label`: `count` of its `available` images, and their weights."""
    random = np.random.default_rng([seed, label, index])
    sources = random.permutation(available)[:count]
    if mixing.weights == "centroid" or count == 0:
        weights = np.full(count, 1 / max(count, 1))
    else:
        weights = random.dirichlet(np.full(count, mixing.concentration))
    return Mixture(tuple(int(s) for s in sources), tuple(float(x) for x in weights))
