"""What do the pictures of an advice look like? The finalists with their intervals, and the course of the search."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from classify.advice.outcomes import Outcome
from classify.report.advice_answer import shown
from classify.report.figures import BLUE, DARK, GREY, ORANGE, finish
from classify.report.statistics import Comparison
from classify.report.wording import points, rounded

HEIGHT = 0.42
"""Inches of one candidate."""


def finalists_figure(
    path: Path, accuracy: Mapping[str, Comparison], log_loss: Mapping[str, Comparison], visible: float
) -> None:
    """Each finalist against real images alone, in accuracy and in log-loss, with 95 % intervals.

    Args:
        path: File to write.
        accuracy: Gains, as shares.
        log_loss: Changes; less is better.
        visible: The smallest gain in accuracy that could have been seen, as a share; NaN if unknown.
    """
    size = (11.0, HEIGHT * len(accuracy) + 1.3)
    figure, (left, right) = plt.subplots(1, 2, figsize=size, layout="constrained", sharey=True)
    if visible < 1:
        left.axvspan(-100 * visible, 100 * visible, color=GREY, alpha=0.18, lw=0, zorder=0)
        left.set_title("grey: too small to be seen reliably", loc="right", fontsize=8.5, color="#666")
    for axes, found, scale, sign in ((left, accuracy, 100, 1), (right, log_loss, 1, -1)):
        axes.axvline(0, color="black", lw=1)
        reach = 0.0
        for row, comparison in enumerate(found.values()):
            change, sure = comparison.change, log_loss[list(found)[row]].significant
            middle = scale * change.mean
            half = scale * change.half if change.has_interval else 0.0
            shade = (BLUE if sign * middle > 0 else ORANGE) if sure else DARK
            face = shade if sure else "white"
            axes.errorbar(middle, row, xerr=half, fmt="o", ms=7, capsize=3, lw=1.8, color=shade, mfc=face)
            text = points(change) if scale == 100 else rounded(change.mean, change.half)
            axes.annotate(text, (middle, row), xytext=(0, 8), textcoords="offset points", fontsize=8.5, ha="center")
            reach = max(reach, abs(middle) + half)
        axes.set_xlim(-1.15 * reach - 1e-3, 1.15 * reach + 1e-3)
        axes.set_ylim(len(found) - 0.5, -0.7)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
    left.set_yticks(range(len(accuracy)), list(accuracy))
    right.tick_params(axis="y", length=0)
    left.set_xlabel("accuracy against real images alone, points (right is better)")
    right.set_xlabel("log-loss against real images alone (left is better)")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def course_figure(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Every candidate that was run, in the order of the search: what it did on each fold, and the best so far."""
    run = [one for one in outcomes if one.scores]
    real = outcomes[0].scores
    figure, axes = plt.subplots(figsize=(max(7.0, 0.42 * len(run) + 3), 5.0), layout="constrained")
    best, line = np.inf, []
    for place, one in enumerate(run):
        differences = [score.log_loss - real[number].log_loss for number, score in one.scores.items()]
        shade = GREY if not one.candidate.is_synthetic else BLUE
        axes.plot([place] * len(differences), differences, ".", color=shade, alpha=0.35, ms=6)
        face = "white" if one.stopped else shade
        axes.plot(place, one.excess(real), "o", ms=8, color=shade, mfc=face)
        best = min(best, one.excess(real)) if not one.stopped else best
        line.append(best)
    axes.step(range(len(run)), line, where="post", color=ORANGE, lw=1.5, label="best so far")
    axes.plot([], [], "o", color=GREY, label="without synthetic images")
    axes.plot([], [], "o", color=BLUE, label="with synthetic images")
    axes.plot([], [], "o", color=DARK, mfc="white", label="given up early")
    axes.axhline(0, color="black", lw=1)
    axes.set_xticks(range(len(run)), [shown(one.candidate.name) for one in run], rotation=60, ha="right", fontsize=8)
    axes.set_ylabel("log-loss against real images alone (lower is better)")
    axes.legend(fontsize=8, frameon=False, loc="best")
    finish(figure, axes, path)
