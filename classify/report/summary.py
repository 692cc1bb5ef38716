"""What do the cells of a study say in numbers and in words? Means over seeds, paired differences, the answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import pandas as pd

from augment.measure.metrics import is_frechet
from classify.report.statistics import Comparison, Estimate, compare, corrected, estimate
from classify.report.wording import percent, points

BASELINE = "none"
"""Name of the row of real images alone."""

Results = Mapping[str, Any]
"""What a finished cell noted."""


@dataclass(frozen=True)
class Line:
    """One row of a study under one classifier at one number of shots.

    Attributes:
        row: Its name.
        accuracy: Top-1.
        gain: Against the baseline; None for the baseline itself, or without one.
        versus: Against the reference row.
        measures: Of its synthetic sets, such as the Fréchet distance.
        scores: Of the classifier, beside top-1.
        synthesis: Mean seconds for a synthetic set, without inversion.
        training: Mean seconds for a training.
    """

    row: str
    accuracy: Estimate
    gain: Comparison | None
    versus: Comparison | None
    measures: dict[str, Estimate]
    scores: dict[str, Estimate]
    synthesis: float
    training: float

    @property
    def cost(self) -> float:
        """Seconds for a trained classifier."""
        return self.synthesis + self.training


@dataclass(frozen=True)
class Pair:
    """What channel-wise mean adjustment changes under one norm: accuracy, and Fréchet distances, with minus without."""

    adjusted: str
    plain: str
    comparison: Comparison
    distances: dict[str, Comparison]


@dataclass(frozen=True)
class Block:
    """What can be compared: all rows under one classifier at one number of shots."""

    classifier: str
    shots: int
    seeds: int
    lines: list[Line]
    pairs: list[Pair]

    @property
    def name(self) -> str:
        """As headings call it."""
        return f"{self.classifier}, {self.shots} {'shot' if self.shots == 1 else 'shots'}"

    @property
    def best(self) -> Line:
        """The row with the highest mean accuracy, among those that have been run with the most seeds."""
        return max(self.lines, key=lambda line: (line.accuracy.count, line.accuracy.mean))

    @property
    def answer(self) -> str:
        """The finding, as far as the corrected tests allow one."""
        best = self.best
        count = best.accuracy.count
        seeds = f"{count} {'seed' if count == 1 else 'seeds'}"
        text = f"{self.name}: highest mean accuracy {best.row}, {percent(best.accuracy)} % over {seeds}"
        compared = [line for line in self.lines if line.gain is not None]
        baseline = next((line for line in self.lines if line.row == BASELINE), None)
        if compared and baseline is not None:
            if best is not baseline:
                text += f" ({BASELINE}: {percent(baseline.accuracy)} %)"
            text += ". " + self._verdict(compared)
        else:
            text += "."
        if fewer := [line for line in self.lines if line.accuracy.count < count]:
            text += f" Not among them, run with fewer seeds: {', '.join(line.row for line in fewer)}."
        if self.pairs:
            text += " Channel-wise mean adjustment: " + "; ".join(
                f"{pair.adjusted} against {pair.plain} {points(pair.comparison.change)} points"
                f"{' (significant)' if pair.comparison.significant else ''}"
                for pair in self.pairs
            )
            text += "."
        return text

    def _verdict(self, compared: Sequence[Line]) -> str:
        tested = [line for line in compared if line.gain and line.gain.tested]
        if not tested:
            return f"One seed tells nothing about the {len(compared)} differences from {BASELINE}."
        found = [(line.row, line.gain.change) for line in compared if line.gain and line.gain.significant]
        better = [f"{row} ({points(change)})" for row, change in found if change.mean > 0]
        worse = [f"{row} ({points(change)})" for row, change in found if change.mean < 0]
        if not found:
            return f"No difference from {BASELINE} is significant among {len(tested)}."
        return (
            f"Significantly better than {BASELINE}, of {len(tested)}: {', '.join(better) or 'no row'}; "
            f"significantly worse: {', '.join(worse) or 'no row'}."
        )


@dataclass(frozen=True)
class Summary:
    """Everything the report says in numbers."""

    blocks: list[Block]
    reference: str | None
    measures: list[str]
    scores: list[str]

    @property
    def answer(self) -> str:
        """The finding over all blocks in one sentence."""
        compared = {
            (line.row, block.name): line.gain for block in self.blocks for line in block.lines if line.gain is not None
        }
        # Corrected for all that the sentence could have named, not for one table alone.
        better = [
            f"{row} ({name}: {points(gain.change)} points)"
            for (row, name), gain in corrected(compared).items()
            if gain.significant and gain.change.mean > 0
        ]
        rows = {line.row for block in self.blocks for line in block.lines}
        if rows == {BASELINE}:
            return f"Real images alone ({BASELINE}) are the only row: nothing is compared."
        if not compared:
            return f"No row is named {BASELINE}, so nothing is compared with real images alone."
        if all(block.seeds < 2 for block in self.blocks):
            return "With one seed no difference can be told from chance."
        of = f"of {len(compared)} {'comparison' if len(compared) == 1 else 'comparisons'} over all tables"
        if not better:
            return f"No row is significantly better than real images alone ({BASELINE}), {of}."
        return f"Significantly better than real images alone ({BASELINE}), {of}: {', '.join(better)}."


def summarize(results: Iterable[Results], reference: str | None = None) -> Summary:
    """Means over seeds and paired differences; two rows are compared on the seeds that both have.

    Args:
        results: One per finished cell.
        reference: Row that all others are compared with, beside the baseline.
    """
    cells = list(results)
    blocks: dict[tuple[str, int], list[Results]] = {}
    for cell in cells:
        blocks.setdefault((cell["classifier"], cell["shots"]), []).append(cell)
    names = list(dict.fromkeys(cell["classifier"] for cell in cells))
    ordered = sorted(blocks, key=lambda key: (names.index(key[0]), key[1]))
    return Summary(
        [_block(blocks[key], *key, reference) for key in ordered],
        reference,
        list(dict.fromkeys(name for cell in cells for name in cell["set"])),
        list(dict.fromkeys(name for cell in cells for name in _scores(cell))),
    )


def _scores(cell: Results) -> dict[str, float]:
    return {name: value for name, value in cell.items() if isinstance(value, float) and name != "top1"}


def _block(cells: Sequence[Results], classifier: str, shots: int, reference: str | None) -> Block:
    rows: dict[str, dict[int, Results]] = {}
    for cell in sorted(cells, key=lambda cell: cell["seed"]):
        rows.setdefault(cell["row"], {})[cell["seed"]] = cell
    rows = {row: rows[row] for row in dict.fromkeys(cell["row"] for cell in cells)}

    def against(first: str, second: str, score: Callable[[Results], float] = itemgetter("top1")) -> Comparison:
        both = sorted(rows[first].keys() & rows[second].keys())
        return compare(*([score(rows[row][seed]) for seed in both] for row in (first, second)))

    def all_against(second: str | None) -> dict[str, Comparison]:
        seeds = rows.get(second or "", {}).keys()
        return corrected({row: against(row, str(second)) for row in rows if row != second and rows[row].keys() & seeds})

    gains, versus = all_against(BASELINE), all_against(reference if reference != BASELINE else None)
    lines = [
        Line(
            row,
            estimate([cell["top1"] for cell in members.values()]),
            gains.get(row),
            versus.get(row),
            means([cell["set"] for cell in members.values()]),
            means([_scores(cell) for cell in members.values()]),
            *(mean_seconds(list(members.values()), stage) for stage in ("synthesize", "train")),
        )
        for row, members in rows.items()
    ]
    adjusted = {row: row.removesuffix("chm") + "0" for row in rows if row.endswith("/chm")}
    names = [(row, plain) for row, plain in adjusted.items() if rows.get(plain, {}).keys() & rows[row]]
    changes = corrected({pair: against(*pair) for pair in names})
    measures = [name for name in dict.fromkeys(name for cell in cells for name in cell["set"]) if is_frechet(name)]
    nearer = {name: corrected({pair: against(*pair, set_score(name)) for pair in names}) for name in measures}
    pairs = [Pair(*pair, changes[pair], {name: nearer[name][pair] for name in measures}) for pair in names]
    return Block(classifier, shots, len({cell["seed"] for cell in cells}), lines, pairs)


def set_score(name: str) -> Callable[[Results], float]:
    """Reads a metric of a cell's synthetic set."""
    return lambda cell: cell["set"][name]


def means(records: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Estimate of each figure over the records that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: estimate([record[name] for record in records if name in record]) for name in names}


def mean_seconds(cells: Sequence[Results], stage: str) -> float:
    """Mean over the cells that noted their time; NaN if none did."""
    spent = [cell["seconds"][stage] for cell in cells if cell["seconds"][stage] is not None]
    return sum(spent) / len(spent) if spent else float("nan")


def class_differences(cells: Sequence[Results]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean accuracy of each class under the baseline [1, classes], and the others' differences [rows, classes]."""
    places = pd.MultiIndex.from_tuples([(cell["row"], cell["seed"]) for cell in cells])
    frame = pd.DataFrame([cell["per_class"] for cell in cells], index=places)
    tables = {row: frame.loc[row] for row in dict.fromkeys(cell["row"] for cell in cells)}
    baseline = tables.pop(BASELINE)
    changes = {row: (table - baseline).mean() for row, table in tables.items()}
    return pd.DataFrame({BASELINE: baseline.mean()}).T, pd.DataFrame(changes).T
