"""Which noise levels does the sampler pass through, and how does it get from one to the next?

Notation: z = alpha * x0 + sigma * eps. Diffusion models keep alpha^2 + sigma^2 = 1 (alpha^2 is diffusers'
`alphas_cumprod`); flow models keep alpha + sigma = 1. A step leads from its noisy end to its clean end: down while
denoising, up while inverting. Levels are plain numbers, so that a step never waits for the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from augment.errors import UserError

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
DIFFUSION_PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What a network's output means: the noise, alpha * eps - sigma * x0, the clean latent, or eps - x0."""


@dataclass(frozen=True)
class Level:
    """A place in the schedule: the time the network is told, and the shares of signal and noise."""

    time: float
    alpha: float
    sigma: float


@dataclass(frozen=True)
class Step:
    """One deterministic step of the sampler, between two noise levels."""

    noisy: Level
    clean: Level


@dataclass(frozen=True)
class Schedule:
    """All steps of the sampler, the noisiest first.

    Attributes:
        steps: In the order of denoising.
        prediction: What the network's output means.
        clip: Largest magnitude that the predicted clean image may have while denoising; None is no limit.
    """

    steps: tuple[Step, ...]
    prediction: Prediction
    clip: float | None = None


def add_noise(z: Tensor, noise: Tensor, level: Level) -> Tensor:
    """Clean latents at a noise level: alpha * x0 + sigma * eps, the forward process of either kind of model."""
    return level.alpha * z + level.sigma * noise


def clean_and_noise(prediction: Prediction, z: Tensor, output: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """The clean latent x0 and the noise eps that the network's output at this level implies; both like z."""
    alpha, sigma = level.alpha, level.sigma
    if prediction == "epsilon":
        return (z - sigma * output) / alpha, output
    if prediction == "v_prediction":  # Salimans & Ho 2022, Appendix D
        return alpha * z - sigma * output, alpha * output + sigma * z
    if prediction == "sample":
        return output, (z - alpha * output) / sigma
    return z - sigma * output, z + alpha * output


def output_for(prediction: Prediction, x0: Tensor, eps: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
    """What the network should say of alpha * x0 + sigma * eps: the reverse of `clean_and_noise`, like x0.

    Args:
        prediction: What an output means.
        x0: Clean latents [B, C, h, w].
        eps: Noise, like x0.
        alpha: Share of signal; one for all, or [B, 1, 1, 1].
        sigma: Share of noise, likewise.
    """
    if prediction == "epsilon":
        return eps
    if prediction == "v_prediction":
        return alpha * eps - sigma * x0
    if prediction == "sample":
        return x0
    return eps - x0


def spread(time: float | Tensor, z: Tensor) -> Tensor:
    """The time of each latent [B], of one for all or one each."""
    return time.to(z.device) if isinstance(time, Tensor) else torch.full((len(z),), time, device=z.device)


def transfer(
    prediction: Prediction, z: Tensor, output: Tensor, source: Level, target: Level, clip: float | None = None
) -> Tensor:
    """Move z from one noise level to another, trusting the network's output: DDIM (Song et al. 2021, Eq. 12), or Euler.

    Args:
        prediction: What the output means.
        z: Latents at `source` [B, C, h, w].
        output: The network's output.
        source: Where z stands.
        target: Where it goes; cleaner or noisier.
        clip: Limit of the predicted clean image.
    """
    x0, eps = clean_and_noise(prediction, z, output, source)
    if clip is not None:
        x0 = x0.clamp(-clip, clip)
    return target.alpha * x0 + target.sigma * eps


def stochastic_transfer(
    prediction: Prediction, z: Tensor, output: Tensor, step: Step, eta: float, noise: Tensor, clip: float | None = None
) -> Tensor:
    """A DDIM step that replaces part of the predicted noise by fresh noise (Song et al. 2021, Eq. 12 and 16).

    Args:
        prediction: What the output means.
        z: Latents at the step's noisy end [B, C, h, w].
        output: The network's output.
        step: The step down.
        eta: 0 is DDIM, 1 is DDPM.
        noise: Standard normal, like z.
        clip: Limit of the predicted clean image.
    """
    here, there = step.noisy, step.clean
    fresh = eta * fresh_noise(step)
    kept = max(there.sigma**2 - fresh**2, 0.0) ** 0.5
    x0, eps = clean_and_noise(prediction, z, output, here)
    if clip is not None:
        x0 = x0.clamp(-clip, clip)
    return there.alpha * x0 + kept * eps + fresh * noise


def fresh_noise(step: Step) -> float:
    """Standard deviation of DDPM's fresh noise: sigma_t of Song et al. 2021, Eq. 16, with eta = 1."""
    here, there = step.noisy, step.clean
    return float(there.sigma / here.sigma * max(1 - (here.alpha / there.alpha) ** 2, 0.0) ** 0.5)


def undo_transfer(prediction: Prediction, z: Tensor, output: Tensor, step: Step) -> Tensor:
    """The z at the noisy end that `transfer` takes to this clean end, if the network's output there is `output`.

    A step is linear, z_clean = a * z_noisy + b * output; a and b are read off the conversion above. This is the exact
    inverse for a v-prediction at zero terminal signal too, where solving for the noise would divide by zero.
    """
    here, there = step.noisy, step.clean
    alpha, sigma = here.alpha, here.sigma
    if prediction == "epsilon":
        if alpha == 0:
            raise UserError(
                "inversion.kind",
                "an epsilon-predicting model cannot be inverted to zero signal",
                "use `inversion.kind` ddim",
            )
        a, b = there.alpha / alpha, there.sigma - there.alpha * sigma / alpha
    elif prediction == "v_prediction":
        a = there.alpha * alpha + there.sigma * sigma
        b = there.sigma * alpha - there.alpha * sigma
    elif prediction == "sample":
        a, b = there.sigma / sigma, there.alpha - alpha * there.sigma / sigma
    else:
        a, b = there.alpha + there.sigma, there.sigma * alpha - there.alpha * sigma
    return (z - b * output) / a


def ddim_schedule(config: Mapping[str, Any], steps: int, pixels: bool = False) -> Schedule:
    """The levels that diffusers' DDIMScheduler visits, with the checkpoint's spacing, offset and rescaling.

    Args:
        config: The configuration of the checkpoint's scheduler, whatever its class.
        steps: Steps of the sampler.
        pixels: Whether x0 is an image; the clean latents of an autoencoder are never clipped unless told so.

    Raises:
        UserError: If there are more steps than the model was trained with, or it predicts something unknown.
    """
    scheduler = DDIMScheduler.from_config(config, clip_sample=config.get("clip_sample", pixels))
    total = int(scheduler.config.num_train_timesteps)
    if scheduler.config.prediction_type not in DIFFUSION_PREDICTIONS:
        raise UserError(
            "backbone.model",
            f"its scheduler's prediction_type is '{scheduler.config.prediction_type}'",
            f"give a model that predicts {', '.join(DIFFUSION_PREDICTIONS)}",
        )
    if steps > total:
        raise UserError("steps", f"{steps} is more than the {total} of the model's schedule", "lower it")
    scheduler.set_timesteps(steps)
    alphas = scheduler.alphas_cumprod.double().tolist()
    last = float(scheduler.final_alpha_cumprod)

    def level(time: int) -> Level:
        squared = alphas[time] if time >= 0 else last
        return Level(time, squared**0.5, (1 - squared) ** 0.5)

    return Schedule(
        tuple(Step(level(time), level(time - total // steps)) for time in scheduler.timesteps.tolist()),
        scheduler.config.prediction_type,
        float(scheduler.config.clip_sample_range) if scheduler.config.clip_sample else None,
    )


def flow_schedule(
    config: Mapping[str, Any], steps: int, shift: float | None = None, last_sigma: float | None = None
) -> Schedule:
    """The levels that diffusers' FlowMatchEulerDiscreteScheduler visits, with the checkpoint's shift.

    Args:
        config: The configuration of the checkpoint's scheduler.
        steps: Steps of the sampler.
        shift: The resolution's shift (`mu`) for checkpoints that shift dynamically.
        last_sigma: The last level with noise, before it is shifted, in families whose pipelines go there from 1 in
            equal parts; by default the scheduler's own spacing.

    Raises:
        UserError: If the checkpoint sets its last level apart (`shift_terminal`), and there is one step.
    """
    if steps == 1 and config.get("shift_terminal"):
        problem = "the model's schedule is stretched from its first step to its last, and 1 is both"
        raise UserError("steps", problem, "give at least 2")
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
    sigmas = None if last_sigma is None else np.linspace(1.0, last_sigma, steps)
    scheduler.set_timesteps(steps, sigmas=sigmas, mu=shift)
    times = [*scheduler.timesteps.tolist(), 0.0]
    levels = [
        Level(time, 1 - sigma, sigma) for time, sigma in zip(times, scheduler.sigmas.double().tolist(), strict=True)
    ]
    return Schedule(tuple(Step(*pair) for pair in pairwise(levels)), "flow")


def halfway(step: Step) -> Level:
    """The level in the middle of a flow model's step."""
    noisy, clean = step.noisy, step.clean
    return Level(*((a + b) / 2 for a, b in zip(_numbers(noisy), _numbers(clean), strict=True)))


def _numbers(level: Level) -> tuple[float, float, float]:
    return level.time, level.alpha, level.sigma
