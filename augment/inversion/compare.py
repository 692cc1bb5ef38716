"""How good is each inversion on these images? Round trips, and how close the noise is to N(0, I), side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from scipy.stats import kstest
from torch import Tensor
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from augment.backbones.base import Backbone
from augment.images.few_shot import FewShotSet
from augment.images.pixels import to_tensor
from augment.images.sources import ImageSource
from augment.inversion.draws import image_noise
from augment.inversion.inversion import Inversion, round_trip
from augment.runtime.profile import StageProfiler
from augment.runtime.progress import Meter

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
        forward_steps: First steps that added noise takes the place of.
        psnr: PSNR of the round trip, dB.
        floor: PSNR of the autoencoder alone, dB: what no inversion can pass.
        lpips: LPIPS of the round trip; None where the network's weights are not to be had.
        norm: Latent norm over sqrt(L); 1 for N(0, I).
        channel_mean: Mean of all channel means; 0 for N(0, I).
        largest_channel_mean: The largest magnitude among the channels, each averaged over the images: the bias that
            mixtures amplify.
        correlation: Mean correlation of two latents of one class; 0 for independent noise, NaN if no class has two.
        ks: Kolmogorov-Smirnov distance of a latent's values from N(0, 1).
        normal: Share of latents that the Kolmogorov-Smirnov test does not tell from N(0, 1) at the 5 % level.
        residual: Largest over the images (fixed-point).
        seconds: Per image, inversion alone.
        evaluations: Evaluations of the denoiser per image, inversion alone.
    """

    inversion: str
    steps: int
    guidance: float
    forward_steps: int
    psnr: float
    floor: float
    lpips: float | None
    norm: float
    channel_mean: float
    largest_channel_mean: float
    correlation: float
    ks: float
    normal: float
    residual: float
    seconds: float
    evaluations: float


def applicable(
    backbone: Backbone, inversion: Inversion, guidance: float, steps: Sequence[int], forward: Sequence[int] = ()
) -> list[Inversion]:
    """Every inversion the backbone can do, with and without guidance, at each number of steps.

    Null-text and negative-prompt are about guidance alone; null-text is left out where precision is not fp32. The kind
    that the settings name is also tried with added noise in place of its first steps, as often as `forward` says.
    """
    plain = replace(inversion, forward_steps=0, draws=1)
    found = []
    for number in steps:
        for kind in backbone.inversions:
            about_guidance = kind in ("null-text", "negative-prompt")
            if kind == "null-text" and inversion.precision != "fp32":
                continue
            scales = {guidance} - {1.0} if about_guidance else {1.0, guidance}
            found += [replace(plain, kind=kind, steps=number, guidance=scale) for scale in sorted(scales)]
        noisier = sorted({0, inversion.forward_steps, *forward})
        found += [replace(plain, steps=number, forward_steps=count) for count in noisier if 0 < count <= number]
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
    forward: Sequence[int] = (),
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
        forward: Numbers of first steps that added noise takes the place of, to be tried with the settings' own kind.

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
            Inversion(backbone.inversions[0], steps=1, precision=inversion.precision),
        )
        round_trip(backbone, images[part], prompts[part], warm_up)  # the first call is slow
        added = torch.stack([image_noise(shot.sha256, 0, backbone.latent_shape) for shot in shots])
        labels = [shot.label for shot in shots]
        ways = applicable(backbone, inversion, guidance, steps, forward)
        with Meter("check", len(ways), "inversions", rate=False) as meter:
            for how in ways:
                noise = f", {how.forward_steps} of noise" if how.forward_steps else ""
                name = f"{how.kind}, {how.steps} steps{noise}, guidance {how.guidance:g}"
                meter.describe(note=name)
                trial, back, alone = measure(backbone, how, images, prompts, distance, added, labels)
                trials.append(trial)
                rows.setdefault("autoencoder", alone[shown].cpu())
                rows[name] = back[shown].cpu()
                meter.advance()
    return trials, rows


def measure(
    backbone: Backbone,
    how: Inversion,
    images: Tensor,
    prompts: Sequence[str],
    distance: Distance | None,
    added: Tensor | None = None,
    labels: Sequence[int] = (),
) -> tuple[Trial, Tensor, Tensor]:
    """One way to invert: its figures, the images that came back, and those of the autoencoder alone [M, 3, H, W]."""
    watch = StageProfiler()
    parts = [slice(start, start + how.batch_size) for start in range(0, len(images), how.batch_size)]
    trips = [
        round_trip(backbone, images[part], prompts[part], how, watch.profile, None if added is None else added[part])
        for part in parts
    ]
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
        forward_steps=how.forward_steps,
        psnr=mean([quality.round_trip for quality in qualities]),
        floor=mean([quality.autoencoder for quality in qualities]),
        lpips=lpips,
        norm=float(noise.square().mean(dim=(1, 2, 3)).sqrt().mean()),
        channel_mean=float(channels.mean()),
        largest_channel_mean=float(channels.mean(dim=0).abs().max()),
        correlation=class_correlation(noise, labels),
        ks=mean([float(test.statistic) for test in tests]),
        normal=mean([float(test.pvalue > 0.05) for test in tests]),
        residual=max(quality.residual for quality in qualities),
        seconds=watch.seconds["invert"] / len(images),
        evaluations=sum(trip.evaluations for trip in trips) / len(images),
    )
    return trial, back, alone


def class_correlation(latents: Tensor, labels: Sequence[int]) -> float:
    """Mean correlation of two latents [M, C, h, w] of one class, over all such pairs; NaN if there is none."""
    of = torch.tensor(labels, dtype=torch.long)
    classes = [latents[of == label].flatten(1) for label in sorted(set(labels))]
    matrices = [torch.corrcoef(members) for members in classes if len(members) > 1]
    pairs = [float(x) for matrix in matrices for x in matrix[torch.ones_like(matrix).triu(1).bool()]]
    return mean(pairs)


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
