"""The pictures of a study's report: accuracy with intervals, accuracy against distance, and sample grids."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from PIL import Image

from augment.data import ImageSource
from augment.few_shot import FewShotSet
from augment.shards import read_shard
from classify.statistics import Estimate

matplotlib.use("Agg")
from matplotlib import pyplot as plt

BLUE, GREY, ORANGE = "#2f6db3", "#8a8f98", "#d9822b"
TILE = 64
GRID_CLASSES = 10


def colour(method: str) -> str:
    """One colour for the baseline, one for mean-adjusted methods, one for the rest."""
    if method == "none":
        return GREY
    return ORANGE if method.endswith("/0") else BLUE


def accuracy_bars(path: Path, accuracy: dict[str, Estimate], points: Mapping[str, Sequence[float]]) -> None:
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
    axes.set_xlabel("top-1 accuracy on the test images (mean, 95 % interval; small dots: seeds)")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def accuracy_against(path: Path, accuracy: dict[str, Estimate], other: dict[str, Estimate], label: str) -> None:
    """Mean accuracy against another quantity, one labelled point per method."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, x in other.items():
        axes.plot(x.mean, accuracy[name].mean, "o", color=colour(name), ms=7)
        axes.annotate(name, (x.mean, accuracy[name].mean), xytext=(5, 4), textcoords="offset points", fontsize=9)
    axes.margins(0.15)
    axes.set_xlabel(label)
    axes.set_ylabel("top-1 accuracy")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def grid(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows of images as one picture, small images enlarged without smoothing."""
    width = max(len(row) for row in rows)
    sheet = Image.new("RGB", (width * (TILE + 2) - 2, len(rows) * (TILE + 2) - 2), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            how = Image.Resampling.NEAREST if image.width < TILE else Image.Resampling.BICUBIC
            sheet.paste(image.resize((TILE, TILE), how), (x * (TILE + 2), y * (TILE + 2)))
    return sheet


def real_grid(source: ImageSource, few_shot: FewShotSet, rows: int) -> Image.Image:
    """The first real images of the first classes: a column per class."""
    members = few_shot.shots[:GRID_CLASSES]
    depth = min(rows, min(len(shots) for shots in members))
    return grid([[source.image(shots[row]) for shots in members] for row in range(depth)])


def synthetic_grid(shard: Path, rows: int) -> Image.Image:
    """The first synthetic images of the first classes of a shard: a column per class."""
    columns: dict[int, list[Image.Image]] = {}
    for _, image, record in read_shard(shard):
        columns.setdefault(record["label"], []).append(image.convert("RGB"))
    chosen = [columns[label] for label in sorted(columns)[:GRID_CLASSES]]
    depth = min(rows, min(len(column) for column in chosen))
    return grid([[column[row] for column in chosen] for row in range(depth)])
