"""How are figures written, in tables and in sentences? With their intervals."""

from classify.report.statistics import LEVEL, Comparison, Estimate


def percent(e: Estimate) -> str:
    """An accuracy in per cent with its interval."""
    return f"{100 * e.mean:.1f}" + (f" ± {100 * e.half:.1f}" if e.has_interval else "")


def points(e: Estimate) -> str:
    """A difference of accuracies in points with its interval."""
    return f"{round(100 * e.mean, 2) + 0.0:+.2f}" + (f" ± {100 * e.half:.2f}" if e.has_interval else "")


def number(e: Estimate) -> str:
    """A plain number with its interval."""
    return f"{e.mean:.3g}" + (f" ± {e.half:.2g}" if e.has_interval else "")


def p_value(comparison: Comparison) -> str:
    """A corrected p-value."""
    if not comparison.tested:
        return "–"
    return "< 0.001" if comparison.adjusted < 0.001 else f"{comparison.adjusted:.3f}"


TESTS = (
    f"Mean ± 95 % interval over seeds (Student's t, not corrected for the number of comparisons). Differences are "
    f"paired by seed: every row of a seed shares few-shot images, initial weights, the number of optimizer steps and, "
    f"unless it has settings of its own, mixing weights. p: paired t-test (sign test where all seeds differ alike), "
    f"corrected by Holm for all rows of the table; bold: p < {LEVEL:g}. No choice was made on the test images; the "
    f"highest mean is the highest on them."
)
