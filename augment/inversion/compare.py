"""How good is each inversion on these images? Round trips, and how close the noise is to N(0, I), side by side."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.table import Table
from scipy.stats import kstest
from torch import Tensor
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from augment.backbones.base import Backbone
from augment.images.few_shot import FewShotSet
from augment.images.pixels import to_tensor
from augment.images.sources import ImageSource
from augment.inversion.inversion import Inversion, round_trip
from augment.runtime.profile import StageProfiler
from augment.runtime.terminal import PlainConsole

COLUMNS = 10
"""Images in the picture."""

Distance = Callable[[Tensor, Tensor], float]
"""LPIPS of images and targets [B, 3, H, W] in [-1, 1], summed over the batch."""


@dataclass(frozen=True)
class Trial:
    """One way to invert, measured on a set of images; numbers are means over the images unless said otherwise.

    Attributes:
        inversion: Name of the kind.
        steps: Steps of inversion and way back.
        guidance: Guidance of inversion and way back (null-text and negative-prompt: of the way back alone).
        psnr: PSNR of the round trip, dB.
        floor: PSNR of the autoencoder alone, dB: what no inversion can pass.
        lpips: LPIPS of the round trip; None where the network's weights are not to be had.
        norm: Latent norm over sqrt(L); 1 for N(0, I).
        channel_mean: Mean of all channel means; 0 for N(0, I).
        largest_channel_mean: The largest magnitude among the channels, each averaged over the images: the bias that
            mixtures amplify.
        ks: Kolmogorov-Smirnov distance of a latent's values from N(0, 1).
        normal: Share of latents that the Kolmogorov-Smirnov test does not tell from N(0, 1) at the 5 % level.
        residual: Largest over the images (fixed-point).
        seconds: Per image, inversion alone.
        evaluations: Evaluations of the denoiser per image, inversion alone.
    """

    inversion: str
    steps: int
    guidance: float
    psnr: float
    floor: float
    lpips: float | None
    norm: float
    channel_mean: float
    largest_channel_mean: float
    ks: float
    normal: float
    residual: float
    seconds: float
    evaluations: float


def applicable(backbone: Backbone, inversion: Inversion, guidance: float, steps: Sequence[int]) -> list[Inversion]:
    """Every inversion the backbone can do, with and without guidance, at each number of steps.

    Null-text and negative-prompt are about guidance alone; null-text is left out where precision is not fp32.
    """
    found = []
    for number in steps:
        for kind in backbone.inversions:
            about_guidance = kind in ("null-text", "negative-prompt")
            if kind == "null-text" and inversion.precision != "fp32":
                continue
            scales = {guidance} - {1.0} if about_guidance else {1.0, guidance}
            found += [replace(inversion, kind=kind, steps=number, guidance=scale) for scale in sorted(scales)]
    return found


def check(
    backbone: Backbone,
    inversion: Inversion,
    guidance: float,
    source: ImageSource,
    few_shot: FewShotSet,
    prompts: Sequence[str],
    device: torch.device,
    steps: Sequence[int],
) -> tuple[list[Trial], dict[str, Tensor]]:
    """Invert the few-shot set in every applicable way and go back.

    Args:
        backbone: The model.
        inversion: Precision, tolerance, iterations and batch size of all ways.
        guidance: The sampler's guidance, that inversions with guidance prepare for.
        source: Where the images are.
        few_shot: Which of them.
        prompts: One per image, in the order of `few_shot.all`.
        device: Where to run.
        steps: Numbers of steps to try.

    Returns:
        One trial per way, and the rows of the picture: name -> images [M, 3, H, W] in [-1, 1].
    """
    backbone.to(device).cast(inversion.precision)
    shots = few_shot.all
    images = torch.stack([to_tensor(source.image(shot), backbone.image_size) for shot in shots]).to(device)
    first = [[shot.label for shot in shots].index(label) for label in few_shot.labels]
    shown = (first + [n for n in range(len(images)) if n not in first])[:COLUMNS]
    distance = load_lpips(device)
    rows = {"original": images[shown].cpu()}
    trials = []
    with torch.inference_mode():
        part, warm_up = (
            slice(inversion.batch_size),
            replace(inversion, kind=backbone.inversions[0], steps=1, guidance=1),
        )
        round_trip(backbone, images[part], prompts[part], warm_up)  # the first call is slow
        for how in applicable(backbone, inversion, guidance, steps):
            trial, back, alone = measure(backbone, how, images, prompts, distance)
            trials.append(trial)
            rows.setdefault("autoencoder", alone[shown].cpu())
            rows[f"{how.kind}, {how.steps} steps, guidance {how.guidance:g}"] = back[shown].cpu()
    return trials, rows


def measure(
    backbone: Backbone, how: Inversion, images: Tensor, prompts: Sequence[str], distance: Distance | None
) -> tuple[Trial, Tensor, Tensor]:
    """One way to invert: its figures, the images that came back, and those of the autoencoder alone [M, 3, H, W]."""
    watch = StageProfiler()
    parts = [slice(start, start + how.batch_size) for start in range(0, len(images), how.batch_size)]
    trips = [round_trip(backbone, images[part], prompts[part], how, watch.profile) for part in parts]
    back, alone = torch.cat([trip.back for trip in trips]), torch.cat([trip.alone for trip in trips])
    qualities = [quality for trip in trips for quality in trip.quality]
    noise = torch.cat([trip.noise.latent.float().cpu() for trip in trips])  # [M, C, h, w]
    channels = noise.mean(dim=(2, 3))  # [M, C]
    tests = [kstest(latent.flatten().numpy(), "norm") for latent in noise if bool(latent.isfinite().all())]
    lpips = None
    if distance is not None:
        batches = zip(*(torch.split(x, how.batch_size) for x in (back, images)), strict=True)
        lpips = sum(distance(a, b) for a, b in batches) / len(images)
    trial = Trial(
        inversion=how.kind,
        steps=how.steps,
        guidance=float(how.guidance),
        psnr=mean([quality.round_trip for quality in qualities]),
        floor=mean([quality.autoencoder for quality in qualities]),
        lpips=lpips,
        norm=float(noise.square().mean(dim=(1, 2, 3)).sqrt().mean()),
        channel_mean=float(channels.mean()),
        largest_channel_mean=float(channels.mean(dim=0).abs().max()),
        ks=mean([float(test.statistic) for test in tests]),
        normal=mean([float(test.pvalue > 0.05) for test in tests]),
        residual=max(quality.residual for quality in qualities),
        seconds=watch.seconds["invert"] / len(images),
        evaluations=sum(trip.evaluations for trip in trips) / len(images),
    )
    return trial, back, alone


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")


def load_lpips(device: torch.device) -> Distance | None:
    """LPIPS (AlexNet), or None where its weights are neither in torch's cache nor to be downloaded."""
    try:
        metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", reduction="sum").to(device)
    except (OSError, RuntimeError, ImportError):
        return None

    def distance(images: Tensor, targets: Tensor) -> float:
        metric.reset()
        return float(metric(images, targets))

    return distance


def print_trials(trials: Sequence[Trial]) -> None:
    """Print the table."""
    table = Table(title="inversions of the few-shot set")
    table.add_column("inversion")
    columns = (
        "steps", "guidance", "PSNR, dB", "autoencoder", "LPIPS", "norm/√L", "mean", "channel bias", "KS", "normal",
        "residual", "s/image", "evaluations",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for t in trials:
        table.add_row(
            t.inversion, str(t.steps), f"{t.guidance:g}", f"{t.psnr:.2f}", f"{t.floor:.2f}",
            "–" if t.lpips is None else f"{t.lpips:.4f}", f"{t.norm:.3f}", f"{t.channel_mean:+.4f}",
            f"{t.largest_channel_mean:.4f}", f"{t.ks:.4f}", f"{t.normal:.0%}",
            f"{t.residual:.1e}" if t.residual else "–", f"{t.seconds:.3f}", f"{t.evaluations:.0f}",
        )  # fmt: skip
    PlainConsole(width=None if PlainConsole().is_terminal else 160).print(table)
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
