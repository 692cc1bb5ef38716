"""How are figures written, in tables and in sentences? With their intervals."""

from collections.abc import Iterable

import numpy as np

from classify.report.power import POWER
from classify.report.statistics import LEVEL, Comparison, Estimate, Spread

EXACT = 1e-6
"""Uncertainties below this share of a number are rounding."""


def percent(e: Estimate) -> str:
    """An accuracy in per cent with its interval."""
    return f"{100 * e.mean:.1f}" + (f" ± {100 * e.half:.1f}" if e.has_interval else "")


def points(e: Estimate) -> str:
    """A difference of accuracies in points with its interval."""
    return f"{round(100 * e.mean, 1) + 0.0:+.1f}" + (f" ± {100 * e.half:.1f}" if e.has_interval else "")


def number(e: Estimate) -> str:
    """A plain number with its interval, both to the same place; no interval where it is rounding alone."""
    return rounded(e.mean, e.half)


def seconds(e: Spread | None) -> str:
    """Seconds with their standard deviation over repeats."""
    return "–" if e is None else rounded(e.mean, e.deviation)


def rounded(mean: float, half: float) -> str:
    """Three digits of a mean; what is given with it ends at the same decimal place.

    Args:
        mean: Any number.
        half: What it is uncertain by; NaN or less than rounding for nothing.
    """
    if not np.isfinite(mean):
        return str(mean)
    if not half > EXACT * abs(mean):
        return f"{mean:.3g}"
    largest = max(abs(mean), half)
    places = max(0, 2 - int(np.floor(np.log10(largest))))
    return f"{round(mean, places) + 0.0:.{places}f} ± {half:.{places}f}"


def rough(values: Iterable[float]) -> str | None:
    """Sizes in a sentence, `9` or `4 to 12`, to two digits at most; None if none is known."""
    known = sorted(value for value in values if not np.isnan(value))
    if not known:
        return None
    low, high = (
        f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0") for value in (known[0], known[-1])
    )
    return low if low == high else f"{low} to {high}"


def p_value(comparison: Comparison) -> str:
    """A corrected p-value."""
    if not comparison.tested:
        return "–"
    return "< 0.001" if comparison.adjusted < 0.001 else f"{comparison.adjusted:.3f}"


TESTS = (
    f"Mean ± 95 % interval over seeds (Student's t, not corrected for the number of comparisons). Differences are "
    f"paired by seed: every row of a seed shares few-shot images, initial weights, the number of optimizer steps and, "
    f"unless it has settings of its own, mixing weights. So the luck of the few-shot set, which moves all accuracies "
    f"of a seed, cancels out of a difference. p: paired t-test (sign test where all seeds differ alike), corrected by "
    f"Holm for all rows of the table; bold: p < {LEVEL:g}. The headline and the first figure are corrected for all "
    f"tables together. No choice was made on the test images; the highest mean is the highest on them.",
    f"The smallest difference that is reliably seen is the one that this test would find in {100 * POWER:.0f} % of "
    f"such studies, given how much the paired differences vary from seed to seed (all rows of a table together). A "
    f"smaller one may be real and yet be missed: that no difference is shown is no proof that there is none.",
)
