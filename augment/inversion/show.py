"""How is a comparison of inversions shown? A table on the screen, a CSV file, and a picture of the round trips."""

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from augment.inversion.compare import Trial
from augment.runtime.terminal import PlainConsole


def print_trials(trials: Sequence[Trial]) -> None:
    """Print the table."""
    table = Table(title="inversions of the few-shot set")
    table.add_column("inversion")
    columns = (
        "steps", "of noise", "guidance", "PSNR, dB", "autoencoder", "LPIPS", "norm/√L", "mean", "channel bias",
        "in class", "KS", "normal", "residual", "s/image", "evaluations",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for t in trials:
        table.add_row(
            t.inversion, str(t.steps), str(t.forward_steps), f"{t.guidance:g}", f"{t.psnr:.2f}", f"{t.floor:.2f}",
            "–" if t.lpips is None else f"{t.lpips:.4f}", f"{t.norm:.3f}", f"{t.channel_mean:+.4f}",
            f"{t.largest_channel_mean:.4f}", f"{t.correlation:+.3f}", f"{t.ks:.4f}", f"{t.normal:.0%}",
            f"{t.residual:.1e}" if t.residual else "–", f"{t.seconds:.3f}", f"{t.evaluations:.0f}",
        )  # fmt: skip
    PlainConsole(width=None if PlainConsole().is_terminal else 190).print(table)
    if any(t.lpips is None for t in trials):
        print("LPIPS is left out: the weights of its AlexNet are not in torch's cache and could not be downloaded")


def write_trials(folder: Path, trials: Sequence[Trial], rows: dict[str, Tensor]) -> None:
    """Write `inversions.csv`, and `inversions.png` with originals and reconstructions, one row per way."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "inversions.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(asdict(trials[0])))
        writer.writeheader()
        writer.writerows(asdict(trial) for trial in trials)
    draw(rows).savefig(folder / "inversions.png", dpi=120, bbox_inches="tight")


def draw(rows: dict[str, Tensor]) -> Figure:
    """A picture with one row of images per name."""
    count = len(next(iter(rows.values())))
    figure = Figure(figsize=(2.5 + 0.8 * count, 0.85 * len(rows)))
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow((image / 2 + 0.5).nan_to_num().clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure
