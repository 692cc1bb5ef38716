"""What did a study find, in sentences? First what it could have seen at all, then what it saw."""

from collections.abc import Sequence

from classify.report.power import more_seeds
from classify.report.summary import BASELINE, Block, Line, Summary
from classify.report.wording import percent, points, rough

NAMED = 4
"""Rows that the headline names before it counts the rest."""


def headline(summary: Summary) -> str:
    """The finding over all blocks and the size of a difference that could have been seen, in one sentence."""
    rows = {line.row for block in summary.blocks for line in block.lines}
    if rows == {BASELINE}:
        return f"Real images alone ({BASELINE}) are the only row: nothing is compared."
    if not summary.gains:
        return f"No row is named {BASELINE}, so nothing is compared with real images alone."
    if not any(gain.tested for gain in summary.gains.values()):
        return "With one seed no difference can be told from chance: give --seeds 10."
    return f"{found(summary)}; {sight(summary)}."


def found(summary: Summary) -> str:
    """Which rows differ from real images alone, corrected for all comparisons of the report."""
    several = len(summary.blocks) > 1
    better: list[str] = []
    worse: list[str] = []
    for (block, row), gain in summary.gains.items():
        if gain.significant:
            change = f"{block}: {points(gain.change)}" if several else points(gain.change)
            (better if gain.change.mean > 0 else worse).append(f"{row} ({change} points)")
    if better:
        return f"Better than real images alone: {some(better)}" + (f". Worse: {some(worse)}" if worse else "")
    if worse:
        return f"No row is shown to be better than real images alone, and these are worse: {some(worse)}"
    count = sum(gain.tested for gain in summary.gains.values())
    rows = "The one comparison shows no" if count == 1 else f"None of {count} comparisons shows a"
    return f"{rows} difference from real images alone"


def sight(summary: Summary) -> str:
    """What size of a difference the study could have shown, and what more seeds would show."""
    seeds = max(block.seeds for block in summary.blocks)
    sizes = rough(min(100 * summary.visible(block), 100.0) for block in summary.blocks)
    if sizes is None:
        return "how small a difference could have been seen is unknown, since all seeds differ alike"
    text = f"{seeds} seeds reliably show only differences of about {sizes} points or more"
    if all(not summary.visible(block) < 1 for block in summary.blocks):
        text = f"{seeds} seeds reliably show no difference of any size"
    more = more_seeds(seeds)
    wider = rough(100 * summary.visible(block, more) for block in summary.blocks) if more else None
    return text + (f" (--seeds {more} would show about {wider})" if wider else "")


def some(names: Sequence[str]) -> str:
    """The first few names, and how many there are beside them."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def answer(block: Block) -> str:
    """What one block shows, as far as its table's corrected tests allow."""
    best = block.best
    count = best.accuracy.count
    seeds = f"{count} {'seed' if count == 1 else 'seeds'}"
    text = f"{block.name}: highest mean accuracy {best.row}, {percent(best.accuracy)} % over {seeds}"
    compared = [line for line in block.lines if line.gain is not None]
    baseline = next((line for line in block.lines if line.row == BASELINE), None)
    if compared and baseline is not None:
        if best is not baseline:
            text += f" ({BASELINE}: {percent(baseline.accuracy)} %)"
        text += ". " + verdict(compared)
    else:
        text += "."
    if fewer := [line for line in block.lines if line.accuracy.count < count]:
        text += f" Not among them, run with fewer seeds: {', '.join(line.row for line in fewer)}."
    if block.pairs:
        text += " Channel-wise mean adjustment: " + "; ".join(
            f"{pair.adjusted} against {pair.plain} {points(pair.comparison.change)} points"
            f"{' (significant)' if pair.comparison.significant else ''}"
            for pair in block.pairs
        )
        text += "."
    return text


def verdict(compared: Sequence[Line]) -> str:
    """Which rows of a table are significantly better or worse than the baseline."""
    tested = [line for line in compared if line.gain and line.gain.tested]
    if not tested:
        return f"One seed tells nothing about the {len(compared)} differences from {BASELINE}."
    changes = [(line.row, line.gain.change) for line in compared if line.gain and line.gain.significant]
    better = [f"{row} ({points(change)})" for row, change in changes if change.mean > 0]
    worse = [f"{row} ({points(change)})" for row, change in changes if change.mean < 0]
    if not changes:
        return f"No difference from {BASELINE} is significant among {len(tested)}."
    return (
        f"Significantly better than {BASELINE}, of {len(tested)}: {', '.join(better) or 'no row'}; "
        f"significantly worse: {', '.join(worse) or 'no row'}."
    )
