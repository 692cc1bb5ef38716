"""What size of a difference could a study have seen at all? From its own spread over seeds, before it was looked at."""

from collections.abc import Iterable

import numpy as np
from scipy import optimize, stats

from classify.report.statistics import LEVEL, Comparison

POWER = 0.8
"""A difference counts as one that can be seen if this share of such studies would find it."""

QUANTILES = 2000
"""Of the chi-square distribution, that its integral is summed over."""

SEEDS = (10, 30, 100)
"""Numbers of seeds that a report proposes."""


def pooled_deviation(comparisons: Iterable[Comparison]) -> float:
    """Root of the mean variance of paired differences, each weighted by its seeds - 1; NaN where nothing was paired.

    A few seeds tell little about the spread of one row; all rows of a table together tell more.
    """
    found = [(c.change.count - 1, c.deviation**2) for c in comparisons if c.tested]
    if not found:
        return float("nan")
    weights, variances = zip(*found, strict=True)
    return float(np.sqrt(np.average(variances, weights=weights)))


def detectable(deviation: float, seeds: int, comparisons: int, power: float = POWER) -> float:
    """The smallest true difference that a paired, two-sided t-test finds with a given power.

    With n seeds and m comparisons, Holm's first step tests at a = LEVEL / m. Under a true difference d the statistic
    follows Student's t with n - 1 degrees of freedom, off centre by d √n / s (Cohen 1988, Statistical Power Analysis).
    What is returned solves

        P(|t(n - 1, d √n / s)| > t_(1 - a/2, n - 1)) = power

    Args:
        deviation: s, of the paired differences; the result has its unit.
        seeds: n.
        comparisons: m, that the tests are corrected for.
        power: Share of such studies that would find the difference.

    Returns:
        The difference; NaN for fewer than two seeds or an unknown deviation.
    """
    if seeds < 2 or comparisons < 1 or not deviation > 0:
        return float("nan")
    degrees = seeds - 1
    # The integral over the deviation that the seeds happen to show; scipy's own noncentral t is NaN far out.
    shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
    edges = stats.t.isf(LEVEL / comparisons / 2, degrees) * np.sqrt(stats.chi2.ppf(shares, degrees) / degrees)

    def missing(shift: float) -> float:
        return power - float(np.mean(stats.norm.sf(edges - shift) + stats.norm.cdf(-edges - shift)))

    return float(optimize.brentq(missing, 0.0, edges[-1] + 10) * deviation / np.sqrt(seeds))


def more_seeds(seeds: int) -> int | None:
    """The next number of seeds that would be worth its time, at least twice as many; None for a large study."""
    return next((number for number in SEEDS if number >= 2 * seeds), None)
