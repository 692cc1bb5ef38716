"""How sure is a difference? Means over seeds with 95 % intervals from Student's t distribution."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and the half-width of its 95 % interval (NaN for fewer than two seeds)."""

    mean: float
    half: float
    count: int

    @property
    def has_interval(self) -> bool:
        """Whether there were seeds enough for an interval."""
        return not np.isnan(self.half)

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return bool(abs(self.mean) > self.half)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and t interval of values that belong to independent seeds."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return Estimate(float(array.mean()), float("nan"), len(array))
    half = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Estimate(float(array.mean()), half, len(array))


def paired(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The difference first - second, seed by seed."""
    return estimate([a - b for a, b in zip(first, second, strict=True)])
