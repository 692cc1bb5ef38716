"""How is an image brought to noise and back? The settings of an inversion, and its checks."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from augment.backbones.base import Backbone, Precision
from augment.backbones.inversions import Forward, InversionKind
from augment.backbones.start import LatentKind, Noise, Sampler, Start
from augment.errors import UserError
from augment.runtime.numbers import NonNegativeNumber


def check_latent(latent: Tensor, what: str, remedy: str) -> None:
    """Refuse a latent that no mixture can use.

    Raises:
        UserError: If it is not finite, or zero.
    """
    if not bool(torch.isfinite(latent).all()):
        raise UserError(what, "it holds NaN or infinity", remedy)
    if not bool(latent.any()):
        raise UserError(what, "it is all zeros", remedy)


ENCODED = "encoded"
"""The kind of a bank's entry that is a clean latent: an image that was encoded and never inverted."""


@dataclass(frozen=True)
class Inversion:
    """How images are inverted.

    Args:
        kind: The algorithm: `ddim` (`euler` for flow models) runs the deterministic sampler backwards, each step
            trusting the network at its near end; `fixed-point` solves each step; `midpoint` (flow models) is of second
            order; `null-text` optimises unconditional embeddings for each step so that guidance leads back to the
            image; `negative-prompt` is its fast form, with the prompt itself for "no prompt".
        steps: Steps of the inversion; more of them follow the sampler's path more closely.
        guidance: Classifier-free guidance of the inversion, which works best without it (1). `null-text` and
            `negative-prompt` invert without it, and prepare for this much on the way back.
        tolerance: When a step is solved. `fixed-point`: relative change that ends its iteration; `null-text`: mean
            squared error of a latent at which its embeddings are good enough.
        iterations: Most iterations of `fixed-point`, or optimiser steps of `null-text`, for each step.
        precision: What the networks compute in during the inversion.
        batch_size: Images that the networks invert at a time; it changes latents by rounding alone.
        warn_psnr: Images whose round trip stays below this many dB are named in a warning.
        forward_steps: Noise is added to the image in place of so many first steps, those nearest the image, where the
            network's noise is least diverse (Staniszewski et al. 2024). Latents come nearer to Gaussian noise, and lead
            back to the image less closely.
        draws: Latents of each image, each from noise of its own; needs `forward_steps`. A mixture then takes its
            sources from all of them, so that it may mix several latents of one image.
    """

    kind: InversionKind = "ddim"
    steps: PositiveInt = 50
    guidance: NonNegativeNumber = 1.0
    tolerance: NonNegativeNumber = 1e-5
    iterations: PositiveInt = 10
    precision: Precision = "fp32"
    batch_size: PositiveInt = 16
    warn_psnr: NonNegativeNumber = 15.0
    forward_steps: NonNegativeInt = 0
    draws: PositiveInt = 1

    def __post_init__(self) -> None:
        if self.forward_steps > self.steps:
            raise UserError(
                "inversion.forward_steps",
                f"{self.forward_steps} is more than the {self.steps} steps of the inversion",
                "lower it, or raise `inversion.steps`",
            )
        if self.draws > 1 and self.forward_steps == 0:
            raise UserError(
                "inversion.draws",
                f"without noise all {self.draws} latents of an image would be the same",
                "give `inversion.forward_steps` too",
            )

    def describe(self) -> dict[str, Any]:
        """What decides a latent or a mixture, as JSON has it; what came later is named only where it is used."""
        described = asdict(self)
        del described["warn_psnr"]  # warns, and decides nothing
        if self.forward_steps == 0:
            del described["forward_steps"], described["draws"]
        return described

    def latents_per_image(self, kind: LatentKind | None) -> int:
        """How many latents of this kind an image has: a clean one has no noise, so there is one."""
        return int(self.draws) if kind == "inverted" else 1


@dataclass(frozen=True)
class Quality:
    """How well an image survives: PSNR in dB after inversion and denoising, and after the autoencoder alone.

    `residual` is how far the worst step of the inversion is from being solved, where that is measured, else 0.
    """

    round_trip: float
    autoencoder: float
    residual: float = 0.0


@dataclass(frozen=True)
class RoundTrip:
    """What became of a batch of images; images are [B, 3, H, W] in [-1, 1].

    Attributes:
        noise: Where the inversion led; the clean latents, if nothing was inverted.
        back: The images that came back from there.
        alone: What the autoencoder alone makes of the images.
        quality: The quality of each image's round trip.
        evaluations: Images that the denoiser saw on the way to the noise.
    """

    noise: Noise
    back: Tensor
    alone: Tensor
    quality: tuple[Quality, ...]
    evaluations: int = 0


Stage = Callable[[Literal["encode", "invert", "round trip"]], AbstractContextManager[Any]]
"""What surrounds each part of a round trip, to measure its time."""


def round_trip(
    backbone: Backbone,
    images: Tensor,
    prompts: Sequence[str] = (),
    how: Inversion | None = None,
    stage: Stage = nullcontext,
    added: Tensor | None = None,
) -> RoundTrip:
    """Images there and back: to noise as the settings say, and to images by the sampler that they are the reverse of.

    Args:
        backbone: The model.
        images: [B, 3, H, W] in [-1, 1].
        prompts: One per image.
        how: The inversion; None is the autoencoder alone, there and back.
        stage: Surrounds each part.
        added: Noise [B, C, h, w] that takes the place of the first steps, if the settings say so.
    """
    with stage("encode"):
        clean = backbone.encode(images)  # z_0
    if how is None:
        alone = backbone.decode(clean)
        quality = tuple(Quality(value, value) for value in psnr(alone, images))
        return RoundTrip(Noise(clean, torch.zeros(len(clean))), alone, alone, quality)
    with stage("invert"):
        before = backbone.evaluations
        noise = invert_latents(backbone, clean, prompts, how, added)
        evaluations = backbone.evaluations - before
    with stage("round trip"):
        back, alone = backbone.decode(go_back(backbone, noise, prompts, how)), backbone.decode(clean)
        rows = zip(psnr(back, images), psnr(alone, images), noise.residual.tolist(), strict=True)
        return RoundTrip(noise, back, alone, tuple(Quality(*row) for row in rows), evaluations)


def invert_latents(
    backbone: Backbone, clean: Tensor, prompts: Sequence[str], how: Inversion, added: Tensor | None = None
) -> Noise:
    """Clean latents z_0 [B, C, h, w] to noise, as the settings say.

    Args:
        backbone: The model.
        clean: z_0.
        prompts: One per latent.
        how: The inversion.
        added: Standard normal noise like `clean`, for an inversion with `forward_steps`.

    Raises:
        ValueError: If there is none for such an inversion.
    """
    forward = None
    if how.forward_steps:
        if added is None:
            raise ValueError("forward_steps needs noise for each latent")
        forward = Forward(how.forward_steps, added)
    return backbone.invert(clean, prompts, how.steps, how.guidance, how.kind, how.tolerance, how.iterations, forward)


def go_back(backbone: Backbone, noise: Noise, prompts: Sequence[str], how: Inversion) -> Tensor:
    """Noise to clean latents z_0 [B, C, h, w], by the sampler that the inversion is the reverse of."""
    negative = tuple(prompts) if how.kind == "negative-prompt" else None
    start = Start(noise.latent, tuple(prompts), unconditional=noise.unconditional, negative=negative)
    sampler = Sampler("midpoint" if how.kind == "midpoint" else "first-order")
    return backbone.denoise(start, how.steps, how.guidance, sampler)


DIVERGED = 0.5
"""Residual of `fixed-point` above which its result means nothing."""


def check_inverted(name: str, latent: Tensor, residual: float, how: Inversion) -> None:
    """Refuse an inversion that diverged.

    Raises:
        UserError: Naming the image, its residual, and what helps.
    """
    remedy = "try `inversion.guidance` 1, more `inversion.steps` or `inversion.precision` fp32"
    norm = float(latent.float().square().mean().sqrt())
    measured = (
        f"residual {residual:.2g}, norm/sqrt(L) {norm:.3g}" if how.kind == "fixed-point" else f"norm/sqrt(L) {norm:.3g}"
    )
    check_latent(latent, f"inversion of image '{name}' ({how.kind}, guidance {how.guidance:g}; {measured})", remedy)
    if residual > DIVERGED:
        raise UserError(
            f"inversion of image '{name}'",
            f"it diverged, with residual {residual:.2g} after {how.iterations} iterations at guidance {how.guidance:g}",
            remedy,
        )


def psnr(images: Tensor, targets: Tensor) -> list[float]:
    """Peak signal-to-noise ratio in dB of each image in [-1, 1]."""
    values = peak_signal_noise_ratio(images, targets, data_range=2.0, reduction="none", dim=(1, 2, 3))
    return [float(value) for value in values]
