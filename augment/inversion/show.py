"""How is a comparison of inversions shown? A table on the screen, a CSV file, and a picture of the round trips."""

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from augment.inversion.compare import Trial
from augment.runtime.terminal import PlainConsole

CLOSE = 1.0
"""dB below the best round trip that are not worth more evaluations."""


def recommended(trials: Sequence[Trial], guidance: float) -> Trial | None:
    """The cheapest way whose round trip comes within 1 dB of the best; of equally cheap ones the best.

    Added noise brings no image back, and `negative-prompt` is for a prompt that changes: neither is recommended.

    Args:
        trials: Of one set of images.
        guidance: The sampler's: ways with it are preferred, as images are made with it.

    Returns:
        One of the trials; None if none came back at all.
    """
    back = [t for t in trials if math.isfinite(t.psnr) and not t.forward_steps and t.inversion != "negative-prompt"]
    back = [trial for trial in back if trial.guidance == guidance] or back
    best = max((trial.psnr for trial in back), default=math.nan)
    good = [trial for trial in back if trial.psnr >= best - CLOSE]
    return min(good, key=lambda trial: (trial.evaluations, -trial.psnr), default=None)


def advice(trials: Sequence[Trial], guidance: float, poor: float) -> str:
    """What to do, in one line.

    Args:
        trials: Of one set of images.
        guidance: The sampler's.
        poor: dB below which a round trip is called bad.
    """
    one = recommended(trials, guidance)
    if one is None:
        return "no inversion brings these images back: check that the backbone's weights are whole"
    if one.floor < poor:
        return (
            f"the autoencoder alone loses too much of these images ({one.floor:.1f} dB; below {poor:g} is bad): "
            "choose another backbone, or train it longer"
        )
    if one.psnr < poor:
        return (
            f"every inversion loses too much of these images ({one.psnr:.1f} dB; below {poor:g} is bad): try more "
            "--check_steps, or a method that inverts nothing, such as sdedit"
        )
    options = f"--model.inversion.kind {one.inversion} --model.inversion.steps {one.steps}"
    return (
        f"recommended: {options} --model.inversion.guidance {one.guidance:g}, the cheapest whose round trip "
        f"({one.psnr:.1f} dB; the autoencoder alone: {one.floor:.1f} dB) comes within {CLOSE:g} dB of the best"
    )


def print_trials(trials: Sequence[Trial], guidance: float, poor: float) -> None:
    """Print the table, and what follows from it."""
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
    print(advice(trials, guidance, poor))


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
