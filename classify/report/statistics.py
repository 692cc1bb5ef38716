"""How sure is a difference? Means over seeds, paired differences with 95 % t intervals, Holm's correction, ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Of every test; intervals cover 1 - LEVEL."""

ROUNDING = 2.0**-21
"""More than float32 can move a difference of two differences, relative to them; an image of a million moves it more."""

ENOUGH = 10
"""Rows from which on a correlation over rows is given at all."""

Key = TypeVar("Key")


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


@dataclass(frozen=True)
class Spread:
    """A mean over repeats and their standard deviation, NaN for one."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Comparison:
    """A paired difference of two rows.

    Attributes:
        change: Mean of first - second, with its interval; not corrected for other comparisons.
        p: Of the two-sided paired t-test; NaN for fewer than two seeds.
        adjusted: p after Holm's correction for the comparisons it was made with.
        deviation: Standard deviation of the seeds' differences; NaN for fewer than two seeds.
    """

    change: Estimate
    p: float
    adjusted: float
    deviation: float = float("nan")

    @property
    def significant(self) -> bool:
        """Whether the corrected test rejects equality."""
        return self.adjusted < LEVEL

    @property
    def tested(self) -> bool:
        """Whether there were seeds enough for a test."""
        return not np.isnan(self.p)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and t interval of values that belong to independent seeds."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return Estimate(float(array.mean()), float("nan"), len(array))
    half = float(stats.t.ppf(1 - LEVEL / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return Estimate(float(array.mean()), half, len(array))


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of repeats."""
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"))


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """The difference first - second, seed by seed; corrected for no other comparison yet.

    Accuracies are counts over the test images, kept in float32: differences that are equal as counts differ by
    rounding. A few seeds may well show the same difference; the t-test would take that for certainty. The two-sided
    sign test, 2^(1 - seeds), stands in for it, and there is no interval.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    change = estimate(differences)
    deviation = float(np.std(differences, ddof=1)) if change.has_interval else float("nan")
    rounding = ROUNDING * max((abs(value) for value in (*first, *second)), default=0.0)
    if not change.has_interval:
        p = float("nan")
    elif np.ptp(differences) > rounding:
        p = float(stats.ttest_rel(first, second).pvalue)
    else:
        change = replace(change, half=float("nan"))
        deviation = 0.0
        p = 1.0 if abs(change.mean) <= rounding else 2.0 ** (1 - len(differences))
    return Comparison(change, p, p, deviation)


def compare_resampled(first: Sequence[float], second: Sequence[float], ratio: float) -> Comparison:
    """The difference first - second, fold by fold, where folds share their training images.

    Scores of overlapping folds are not independent: the variance of their mean is taken as (1/J + n2/n1) s² in place of
    s²/J, with J - 1 degrees of freedom (Nadeau & Bengio 2003, Inference for the Generalization Error, section 3).

    Args:
        first: Scores of the J folds.
        second: Scores of the same folds.
        ratio: n2/n1, held-out images for each that is trained on.

    Returns:
        The comparison, corrected for no other yet; without a test for one fold, or if all folds differ alike.
    """
    plain = compare(first, second)
    if not plain.change.has_interval:
        return replace(plain, p=1.0, adjusted=1.0) if plain.p == 1.0 else replace(plain, p=np.nan, adjusted=np.nan)
    count = plain.change.count
    error = plain.deviation * np.sqrt(1 / count + ratio)
    half = float(stats.t.isf(LEVEL / 2, count - 1) * error)
    p = float(2 * stats.t.sf(abs(plain.change.mean) / error, count - 1))
    return Comparison(replace(plain.change, half=half), p, p, plain.deviation)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values of m tests: max over the k smallest of (m - k + 1) * p_(k), at most 1 (Holm 1979).

    Comparing them with a level controls the chance of even one false finding among the m. NaN, a test that was
    not made, stays NaN and does not count.
    """
    adjusted = [float("nan")] * len(p)
    tested = [n for n, value in enumerate(p) if not np.isnan(value)]
    largest = 0.0
    for place, n in enumerate(sorted(tested, key=lambda n: p[n])):
        largest = max(largest, min(1.0, (len(tested) - place) * p[n]))
        adjusted[n] = largest
    return adjusted


def corrected(comparisons: Mapping[Key, Comparison]) -> dict[Key, Comparison]:
    """The same comparisons, each corrected for all of them."""
    adjusted = holm([comparison.p for comparison in comparisons.values()])
    return {
        key: replace(comparison, adjusted=value)
        for (key, comparison), value in zip(comparisons.items(), adjusted, strict=True)
    }


def ranks(scores: Mapping[Key, float]) -> dict[Key, float]:
    """Rank of each score, 1 for the largest; equal scores share the mean of their ranks."""
    return dict(zip(scores, stats.rankdata([-score for score in scores.values()]).tolist(), strict=True))


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over a number of rows, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """Spearman's rank correlation r of n pairs; None for fewer than ENOUGH, or where one of the two does not vary.

    The interval is tanh(arctanh r ± 1.96 √((1 + r²/2) / (n - 3))) (Bonett & Wright 2000, Sample Size Requirements for
    Estimating Pearson, Kendall and Spearman Correlations).
    """
    count = len(first)
    if count < ENOUGH or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    value = float(stats.spearmanr(first, second).statistic)
    with np.errstate(divide="ignore"):  # the interval of a perfect order is that one point
        middle = np.arctanh(np.clip(value, -1, 1))
    reach = stats.norm.isf(LEVEL / 2) * np.sqrt((1 + value**2 / 2) / (count - 3))
    return Correlation(value, float(np.tanh(middle - reach)), float(np.tanh(middle + reach)), count)
