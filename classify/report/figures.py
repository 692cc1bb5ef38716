"""The pictures of a study's report: accuracy with intervals, against shots, distance and cost, and sample grids."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from PIL import Image

from augment.dataset.reader import read_shard
from classify.report.statistics import Estimate
from classify.studies.picture import GRID_CLASSES, grid

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, GREY, ORANGE = "#2f6db3", "#8a8f98", "#d9822b"


def colour(method: str) -> str:
    """One colour for the baseline, one for mean-adjusted methods, one for the rest."""
    if method == "none":
        return GREY
    return ORANGE if method.endswith("/0") else BLUE


def accuracy_bars(path: Path, accuracy: Mapping[str, Estimate], points: Mapping[str, Sequence[float]]) -> None:
    """Mean accuracy with its 95 % interval, and one dot per seed."""
    names = list(accuracy)
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(names) + 1.2), layout="constrained")
    for row, name in enumerate(names):
        e = accuracy[name]
        axes.errorbar(e.mean, row, xerr=e.half if e.has_interval else 0, fmt="o", color=colour(name), capsize=4, ms=7)
        axes.plot(points[name], [row + 0.22] * len(points[name]), ".", color=colour(name), alpha=0.35, ms=6)
    if "none" in accuracy:
        axes.axvline(accuracy["none"].mean, color=GREY, lw=1, ls="--")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, 0), min(high, 1))  # an interval of few seeds may pass what an accuracy can be
    axes.set_xlabel("top-1 accuracy on the test images (mean, 95 % interval; small dots: seeds)")
    finish(figure, axes, path)


def accuracy_against(
    path: Path, accuracy: Mapping[str, Estimate], other: Mapping[str, float], label: str, front: bool = False
) -> None:
    """Mean accuracy against another quantity, one labelled point per row.

    Args:
        path: Of the picture.
        accuracy: Of each row.
        other: The quantity, of the rows that have it.
        label: Names the quantity.
        front: Join the rows that no other beats in both, less of the quantity being better (Pareto front).
    """
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    if front:
        best = pareto({name: (x, accuracy[name].mean) for name, x in other.items()})
        corners = [other[name] for name in best], [accuracy[name].mean for name in best]
        axes.plot(*corners, drawstyle="steps-post", color=GREY, lw=1, zorder=1)
    for name, x in other.items():
        axes.plot(x, accuracy[name].mean, "o", color=colour(name), ms=6)
        axes.annotate(name, (x, accuracy[name].mean), xytext=(4, 3), textcoords="offset points", fontsize=8)
    axes.margins(0.15)
    axes.set_xlabel(label)
    axes.set_ylabel("top-1 accuracy")
    finish(figure, axes, path)


def pareto(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points (cost, gain) that no other one beats, cheapest first."""
    front: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not front or points[name][1] > points[front[-1]][1]:
            front.append(name)
    return front


def accuracy_by_shots(path: Path, curves: Mapping[str, Mapping[int, Estimate]]) -> None:
    """Mean accuracy against the number of real images per class, one line per row; the baseline with its interval."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    palette = plt.get_cmap("tab20")
    for number, (name, curve) in enumerate(curves.items()):
        shots, values = list(curve), list(curve.values())
        baseline = name == "none"
        axes.plot(
            shots, [e.mean for e in values], marker="o", label=name, ms=4, lw=2.5 if baseline else 1.1,
            color="black" if baseline else palette(number % 20), ls="--" if number >= 20 else "-",
            zorder=3 if baseline else 2,
        )  # fmt: skip
        if baseline and all(e.has_interval for e in values):
            low, high = [e.mean - e.half for e in values], [e.mean + e.half for e in values]
            axes.fill_between(shots, low, high, color=GREY, alpha=0.2, lw=0)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 1))
    axes.set_xscale("log")
    ticks = sorted({n for curve in curves.values() for n in curve})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.set_xlabel("real images per class")
    axes.set_ylabel("top-1 accuracy")
    axes.legend(fontsize=8, ncols=1 + len(curves) // 18, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    finish(figure, axes, path)


def finish(figure: Figure, axes: Axes, path: Path) -> None:
    """The look that all charts share."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def synthetic_grid(shard: Path, rows: int) -> Image.Image:
    """The first synthetic images of the first classes of a shard: a column per class."""
    columns: dict[int, list[Image.Image]] = {}
    for _, image, record in read_shard(shard):
        columns.setdefault(record["label"], []).append(image.convert("RGB"))
    chosen = [columns[label] for label in sorted(columns)[:GRID_CLASSES]]
    depth = min(rows, min(len(column) for column in chosen))
    return grid([[column[row] for column in chosen] for row in range(depth)])
