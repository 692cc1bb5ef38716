"""How do figures look? Sheets of images with labelled rows and columns, charts, and the tables behind them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from augment.images.pixels import to_uint8

BLUE, ORANGE, GREY, GREEN, PURPLE = "#2f6db3", "#d9822b", "#8a8f98", "#3a8f5c", "#7d4fa3"
NORM_COLOURS = {"lin": GREY, "fix": ORANGE, "nin": BLUE, "cog": GREEN, "ada": PURPLE}
MEAN_LINES = {"0": ":", "m": "--", "chm": "-", "lp": "-."}

DPI = 110
SMALLEST, LARGEST = 64, 160
"""Height of one image on a sheet, in dots."""
GAP = 3


def sheet(images: Tensor) -> Tensor:
    """Rows and columns of images [R, C, 3, H, W] in [-1, 1] as one picture with white gaps: uint8 [h, w, 3].

    Small images are enlarged by whole numbers, so that their pixels stay what they are; large ones are reduced.
    """
    rows, columns, _, height, width = images.shape
    flat = images.reshape(rows * columns, 3, height, width).float()
    if height < SMALLEST:
        flat = flat.repeat_interleave(-(-SMALLEST // height), 2).repeat_interleave(-(-SMALLEST // height), 3)
    elif height > LARGEST:
        flat = F.interpolate(flat, scale_factor=LARGEST / height, mode="bilinear", antialias=True)
    padded = F.pad(to_uint8(flat), (GAP, GAP, GAP, GAP), value=255)  # [R * C, 3, h, w]
    height, width = padded.shape[-2:]
    return padded.view(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2).reshape(rows * height, -1, 3)


def save_sheets(path: Path, blocks: Mapping[str, Tensor], rows: Sequence[str], columns: Sequence[str]) -> None:
    """Sheets of images side by side.

    Args:
        path: The picture's file.
        blocks: Title -> images [R, C, 3, H, W] in [-1, 1], all with the same rows and columns.
        rows: Labels to the left of the first sheet.
        columns: Labels above every sheet.
    """
    sheets = {title: sheet(images).numpy() for title, images in blocks.items()}
    height, width = next(iter(sheets.values())).shape[:2]
    left = 0.085 * max(map(len, rows), default=0) + 0.2  # inches that the labels need
    # The picture is as wide as its sheets, but never so narrow that its titles do not fit.
    inches = max(width / DPI, 0.095 * max(map(len, blocks)))
    figure = Figure(figsize=(left + len(sheets) * (inches + 0.15), height / DPI + 0.85), dpi=DPI, layout="constrained")
    for axes, (title, pixels) in zip(figure.subplots(1, len(sheets), squeeze=False)[0], sheets.items(), strict=True):
        axes.imshow(pixels, interpolation="nearest")
        tile_h, tile_w = height / max(len(rows), 1), width / max(len(columns), 1)
        axes.set_xticks((np.arange(len(columns)) + 0.5) * tile_w, columns, fontsize=9)
        axes.set_yticks((np.arange(len(rows)) + 0.5) * tile_h, rows, fontsize=10)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.tick_params(axis="y", labelleft=axes.get_subplotspec().is_first_col())
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=10.5)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.08)


def charts(count: int, width: float = 5.2, height: float = 4.0) -> tuple[Figure, list[Any]]:
    """A figure with charts side by side."""
    figure = Figure(figsize=(width * count, height), dpi=DPI, layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def square_root_axis(axes: Any, counts: Sequence[int]) -> None:
    """Numbers of sources on a square-root scale, so that growth by √N is a straight line (paper, Fig. 4)."""
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xlim(0, max(counts) * 1.06)
    apart = 0.045 * max(counts) ** 0.5  # ticks closer than this would print over each other
    shown: list[int] = []
    for count in sorted(counts, reverse=True):
        if not shown or shown[-1] ** 0.5 - count**0.5 >= apart:
            shown.append(count)
    axes.set_xticks(shown, [str(n) for n in shown])
    axes.set_xlabel("number of sources N (square-root scale)")


def save_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The figures behind a picture, as CSV."""
    pd.DataFrame(list(rows)).to_csv(path, index=False, float_format="%.6g")


def grid_of(images: Tensor, rows: int) -> Tensor:
    """Images [R * C, …] in reading order as [R, C, …]."""
    return images.view(rows, -1, *images.shape[1:])


def rms(a: Tensor, b: Tensor) -> float:
    """Root mean squared difference."""
    return float((a - b).square().mean().sqrt())


def change(images: Tensor, reference: Tensor) -> float:
    """Mean absolute difference of images in [-1, 1], as a share of the whole range."""
    return float(torch.mean((images - reference).abs())) / 2
