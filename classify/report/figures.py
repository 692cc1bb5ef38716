"""What do a report's pictures look like? Differences, accuracies, losses, and sheets of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from augment.dataset.reader import read_shard
from classify.report.statistics import Comparison, Estimate
from classify.report.wording import points, rough
from classify.studies.picture import GRID_CLASSES, grid

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, GREY, ORANGE, DARK = "#2f6db3", "#8a8f98", "#d9822b", "#555a63"


def colour(method: str) -> str:
    """One colour for the baseline, one for mean-adjusted methods, one for the rest."""
    if method == "none":
        return GREY
    return ORANGE if method.endswith("/0") else BLUE


@dataclass(frozen=True)
class Panel:
    """Differences from the baseline of one block, in points, the largest first.

    Attributes:
        name: Of the block.
        gains: Of each row; significant ones are corrected for all that the figure shows.
        visible: The smallest difference that could have been seen, in points; NaN if unknown.
    """

    name: str
    gains: Mapping[str, Comparison]
    visible: float


def differences(path: Path, panels: Sequence[Panel], seeds: int) -> None:
    """Paired differences with their intervals, sorted, over a grey band of what could not have been seen."""
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    height = 0.34 * max(len(panel.gains) for panel in panels) + 1.0
    size = (7.0 * columns, height * lines + 0.3)
    figure, places = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    for panel, axes in zip(panels, places.flat, strict=False):
        _differences(axes, panel)
        if len(panels) > 1:
            axes.set_title(panel.name, loc="left", fontsize=10, fontweight="bold")
    for axes in places.flat[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel(
        f"better or worse than real images alone, points of accuracy (mean and 95 % interval over {seeds} seeds)",
        fontsize=9.5,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _differences(axes: Axes, panel: Panel) -> None:
    names, gains = list(panel.gains), list(panel.gains.values())
    reach = 100 * max(abs(g.change.mean) + (g.change.half if g.change.has_interval else 0) for g in gains)
    limit = max(1.1 * reach, min(1.1 * panel.visible, 2.2 * reach) if panel.visible > 0 else 0.0, 0.5)
    axes.set_xlim(-min(limit, 100), min(limit, 100))  # no difference of accuracies is larger
    if panel.visible > 0:
        axes.axvspan(-panel.visible, panel.visible, color=GREY, alpha=0.18, lw=0, zorder=0)
        small = (
            f"below {rough([panel.visible])} points, too small" if panel.visible < 100 else "all sizes, too few seeds"
        )
        axes.set_title(f"grey: {small} to be seen reliably", loc="right", fontsize=8.5, color="#666")
    axes.axvline(0, color="black", lw=1)
    for row, gain in enumerate(gains):
        middle, half = 100 * gain.change.mean, 100 * gain.change.half if gain.change.has_interval else 0.0
        shade = (BLUE if middle > 0 else ORANGE) if gain.significant else DARK
        axes.errorbar(middle, row, xerr=half, fmt="o", ms=7, capsize=3, lw=1.8, color=shade,
                      mfc=shade if gain.significant else "white")  # fmt: skip
        axes.annotate(points(gain.change), (1, row), xycoords=("axes fraction", "data"), xytext=(6, 0),
                      textcoords="offset points", fontsize=9, va="center", color=shade)  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def accuracy_bars(path: Path, accuracy: Mapping[str, Estimate], seeds: Mapping[str, Sequence[float]]) -> None:
    """Mean accuracy with its 95 % interval, and one dot per seed."""
    names = list(accuracy)
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(names) + 1.2), layout="constrained")
    for row, name in enumerate(names):
        e = accuracy[name]
        axes.errorbar(e.mean, row, xerr=e.half if e.has_interval else 0, fmt="o", color=colour(name), capsize=4, ms=7)
        axes.plot(seeds[name], [row + 0.22] * len(seeds[name]), ".", color=colour(name), alpha=0.35, ms=6)
    if "none" in accuracy:
        axes.axvline(accuracy["none"].mean, color=GREY, lw=1, ls="--")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, 0), min(high, 1))  # an interval of few seeds may pass what an accuracy can be
    axes.set_xlabel("top-1 accuracy on the test images (mean, 95 % interval; small dots: seeds)")
    finish(figure, axes, path)


def accuracy_against(path: Path, accuracy: Mapping[str, Estimate], other: Mapping[str, float], label: str) -> None:
    """Mean accuracy against another quantity, one labelled point per row that has it."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, x in other.items():
        axes.plot(x, accuracy[name].mean, "o", color=colour(name), ms=6)
        axes.annotate(name, (x, accuracy[name].mean), xytext=(4, 3), textcoords="offset points", fontsize=8)
    axes.margins(0.15)
    axes.set_xlabel(label)
    axes.set_ylabel("top-1 accuracy")
    finish(figure, axes, path)


def loss_curves(path: Path, curves: Mapping[str, Sequence[float]], steps: int) -> None:
    """Training loss against the steps, one line per row: real images alone in black."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    palette = plt.get_cmap("tab20")
    for number, (name, curve) in enumerate(curves.items()):
        middles = (np.arange(len(curve)) + 0.5) * steps / len(curve)
        style = {"color": "black", "lw": 2.2, "zorder": 3} if name == "none" else {"color": palette(number % 20)}
        axes.plot(middles, curve, label=name, **{"lw": 1.2, "zorder": 2} | style)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("optimizer steps")
    axes.set_ylabel("training loss")
    axes.legend(fontsize=8, ncols=1 + len(curves) // 14, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    finish(figure, axes, path)


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
