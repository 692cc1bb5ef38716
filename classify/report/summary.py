"""What do the cells of a study say in numbers? Means over seeds and paired differences."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

import pandas as pd

from augment.measure.metrics import is_frechet
from classify.report.power import detectable, pooled_deviation
from classify.report.statistics import Comparison, Estimate, Spread, compare, corrected, estimate, spread

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
        synthesis: Seconds for a synthetic set, without inversion; None if none was noted.
        training: Seconds for a training.
    """

    row: str
    accuracy: Estimate
    gain: Comparison | None
    versus: Comparison | None
    measures: dict[str, Estimate]
    scores: dict[str, Estimate]
    synthesis: Spread | None
    training: Spread | None


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
    def by_gain(self) -> list[Line]:
        """The rows that are compared with the baseline, the best first."""
        compared = [line for line in self.lines if line.gain is not None]
        return sorted(compared, key=lambda line: -line.gain.change.mean if line.gain else 0.0)


@dataclass(frozen=True)
class Summary:
    """Everything the report says in numbers."""

    blocks: list[Block]
    reference: str | None
    measures: list[str]
    scores: list[str]

    @cached_property
    def gains(self) -> dict[tuple[str, str], Comparison]:
        """Every difference from the baseline, by its block's name and its row, corrected for all that are listed here.

        What the top of a report says must hold over all that it could have named, not over one table alone.
        """
        return corrected(
            {(b.name, line.row): line.gain for b in self.blocks for line in b.lines if line.gain is not None}
        )

    def visible(self, block: Block, seeds: int | None = None) -> float:
        """The difference that a block could have shown with its number of seeds, or with another; NaN if unknown."""
        gains = [gain for (name, _), gain in self.gains.items() if name == block.name]
        tested = sum(gain.tested for gain in self.gains.values())
        return detectable(pooled_deviation(gains), seeds or block.seeds, tested)


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
            *(seconds_spent(list(members.values()), stage) for stage in ("synthesize", "train")),
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


def cost_unit(cells: Iterable[Results]) -> str:
    """Whose seconds are told: the processor's, the device's, or the clock's where a cell was run before costs were."""
    units = {cell["cost"]["unit"] if "cost" in cell else "clock" for cell in cells}
    return units.pop() if len(units) == 1 else "clock"


def seconds_spent(cells: Sequence[Results], stage: str) -> Spread | None:
    """Seconds over the cells that noted them; None if none did."""
    part = "seconds" if cost_unit(cells) == "clock" else "cost"
    spent = [cell[part][stage] for cell in cells if cell[part][stage] is not None]
    return spread(spent) if spent else None


def class_differences(cells: Sequence[Results]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean accuracy of each class under the baseline [1, classes], and the others' differences [rows, classes]."""
    places = pd.MultiIndex.from_tuples([(cell["row"], cell["seed"]) for cell in cells])
    frame = pd.DataFrame([cell["per_class"] for cell in cells], index=places)
    tables = {row: frame.loc[row] for row in dict.fromkeys(cell["row"] for cell in cells)}
    baseline = tables.pop(BASELINE)
    changes = {row: (table - baseline).mean() for row, table in tables.items()}
    return pd.DataFrame({BASELINE: baseline.mean()}).T, pd.DataFrame(changes).T
