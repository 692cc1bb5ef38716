"""What stands in a report's tables? Accuracies, differences and measures as cells."""

from collections.abc import Callable

from classify.report.pages import Table, Value
from classify.report.statistics import Comparison, Estimate
from classify.report.summary import BASELINE, Block, Summary
from classify.report.wording import number, p_value, percent, points


def value(e: Estimate | None, text: str, strong: bool = False) -> Value:
    """An estimate in a table."""
    return Value("–") if e is None else Value(text, e.mean, strong)


def difference(comparison: Comparison | None, show: Callable[[Estimate], str] = points) -> tuple[Value, Value]:
    """A difference and its p-value in a table."""
    if comparison is None:
        return Value("–"), Value("–")
    strong = comparison.significant
    order = comparison.adjusted if comparison.tested else None
    return value(comparison.change, show(comparison.change), strong), Value(p_value(comparison), order, strong)


def accuracy_table(block: Block, reference: str | None) -> Table:
    """Accuracy of all rows of a block, and what it differs by."""
    versus = reference if any(line.versus for line in block.lines) else None
    head = ["row", "top-1, %", f"against {BASELINE}, points", "p"]
    head += [f"against {versus}, points", "p"] if versus else []
    rows = []
    for line in block.lines:
        cells = [Value(line.row, line.row), value(line.accuracy, percent(line.accuracy)), *difference(line.gain)]
        rows.append((*cells, *(difference(line.versus) if versus else ())))
    return Table(tuple(head), tuple(rows))


SCORES = {
    "top5": "↑ top-5, %",
    "macro": "↑ mean of classes, %",
    "ece": "↓ calibration error, %",
    "log_loss": "↓ log-loss",
}
SHARES = frozenset({"top5", "macro", "ece", "dropped_share"})
"""Scores that are told in per cent."""


def scores_table(block: Block, summary: Summary) -> Table:
    """What else the classifier scored on the test images."""
    rows = []
    for line in block.lines:
        found = {name: line.scores.get(name) for name in summary.scores}
        cells = [value(e, "" if e is None else (percent if name in SHARES else number)(e)) for name, e in found.items()]
        rows.append((Value(line.row, line.row), *cells))
    return Table(("row", *(SCORES.get(name, name) for name in summary.scores)), tuple(rows))


def pairs_table(block: Block) -> Table:
    """Accuracy and Fréchet distances with channel-wise mean adjustment against without."""
    head = ["with channel-wise mean adjustment", "without", "change in accuracy, points", "p"]
    head += [column for name in block.pairs[0].distances for column in (f"change in {name}", "p")]
    rows = []
    for pair in block.pairs:
        distances = [cell for comparison in pair.distances.values() for cell in difference(comparison, number)]
        rows.append(
            (
                Value(pair.adjusted, pair.adjusted),
                Value(pair.plain, pair.plain),
                *difference(pair.comparison),
                *distances,
            )
        )
    return Table(tuple(head), tuple(rows))
