"""What was measured on the synthetic sets? Three small tables: the class, how near to real, how varied."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from augment.measure.metrics import frechet_name
from classify.report.pages import Table, Value
from classify.report.statistics import Estimate
from classify.report.summary import Block, Line
from classify.report.wording import number

HIGHER, LOWER, REAL = "↑", "↓", "≈"
ARROWS = f"{HIGHER} more is better, {LOWER} less is better, {REAL} as in real images is best."
REAL_IMAGES = "real images"


@dataclass(frozen=True)
class Measure:
    """One measure of a synthetic set, by an extractor x.

    Attributes:
        name: Without the extractor's; see `augment.measure.metrics`.
        better: An arrow.
        definition: What it is, in a line.
        real: The name of the same of the real images, if there is one.
    """

    name: str
    better: str
    definition: str
    real: str | None = None


GROUPS = {
    "Does the class show?": (
        Measure("recognised", HIGHER, "share of images whose class has the nearest mean of real images"),
        Measure("cosine", LOWER, "cosine distance of an image to the mean of its class's real images"),
    ),
    "How near to the real images?": (
        Measure("fd", LOWER, "Fréchet distance of all features to those of the real images"),
        Measure("kd", LOWER, "kernel distance of the same, without bias from few images"),
        Measure("precision", HIGHER, "share of images that lie among the real ones"),
        Measure("density", HIGHER, "how many real images' neighbourhoods an image lies in, 1 as for real images"),
        Measure("nearest", REAL, "distance to the nearest few-shot image; far less than real: copies", "nearest_real"),
    ),
    "How varied are they?": (
        Measure("recall", HIGHER, "share of real images that lie among the synthetic ones"),
        Measure("coverage", HIGHER, "share of real images with a synthetic one in their neighbourhood"),
        Measure("diversity", REAL, "mean distance of two images of a class", "diversity_real"),
    ),
}


def full_name(measure: str, extractor: str) -> str:
    """As a synthetic set's metrics call it: `fid`, `fd_digits`, `recall_digits`."""
    if measure == "fd":
        return frechet_name(extractor)
    special = {("kd", "inception"): "kid", ("cosine", "clip"): "clip_distance"}
    return special.get((measure, extractor), f"{measure}_{extractor}")


def measures_tables(block: Block) -> Iterator[tuple[str, Table]]:
    """The tables of each extractor, and one of what belongs to none of them; constants of the real images are a row."""
    lines = [line for line in block.lines if line.measures]
    left = {name: None for line in lines for name in line.measures}
    extractors = [name.removeprefix("recognised_") for name in left if name.startswith("recognised_")]
    for extractor in extractors:
        for title, group in GROUPS.items():
            measures = [m for m in group if full_name(m.name, extractor) in left]
            if measures:
                yield f"{title} ({extractor})", _table(lines, measures, extractor)
            for measure in group:
                for name in (measure.name, measure.real):
                    left.pop(full_name(name, extractor) if name else "", None)
    if left:
        head = ("row", *left)
        yield (
            "Other measures",
            Table(head, tuple(_row(line.row, [line.measures.get(n) for n in left]) for line in lines)),
        )


def _table(lines: Sequence[Line], measures: Sequence[Measure], extractor: str) -> Table:
    names = [full_name(measure.name, extractor) for measure in measures]
    rows = [_row(line.row, [line.measures.get(name) for name in names]) for line in lines]
    real = [full_name(measure.real, extractor) if measure.real else "" for measure in measures]
    known: list[Estimate | None] = [
        next((line.measures[name] for line in lines if name in line.measures), None) for name in real
    ]
    if any(known):
        rows.append(_row(REAL_IMAGES, known, ""))
    head = ("row", *(f"{m.better} {n}" for m, n in zip(measures, names, strict=True)))
    notes = [f"{m.better} {n}: {m.definition}." for m, n in zip(measures, names, strict=True)]
    return Table(head, tuple(rows), tuple(notes))


def _row(name: str, found: Sequence[Estimate | None], empty: str = "–") -> tuple[Value, ...]:
    values = (Value(empty) if e is None else Value(number(e), e.mean) for e in found)
    return (Value(name, name), *values)
