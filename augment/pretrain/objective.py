"""The epsilon objective, its learning rate, and the DDIM sampler that shows what was learned: functions of tensors.

Notation: z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps, with abar_t diffusers' `alphas_cumprod[t]` and t = 0 ... T - 1.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import SchedulerMixin
from torch import Tensor

from augment.backbones.schedule import ddim_schedule, transfer

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""eps_theta(z_t [B, C, h, w], t [B]), like z_t."""

SAMPLING_STEPS = 25


def epsilon_loss(denoiser: Denoiser, z0: Tensor, scheduler: SchedulerMixin) -> Tensor:
    """E ||eps - eps_theta(z_t, t)||^2 with eps ~ N(0, I) and t uniform: L_simple of DDPM, L_LDM in latents.

    Ho et al. 2020, Eq. 14 and Algorithm 1; Rombach et al. 2022, Eq. 2.

    Args:
        denoiser: eps_theta.
        z0: Clean latents or images [B, C, h, w].
        scheduler: Holds T and abar.

    Returns:
        The mean over batch and elements, [].
    """
    eps = torch.randn_like(z0)
    t = torch.randint(0, scheduler.config.num_train_timesteps, (len(z0),), device=z0.device)
    return F.mse_loss(denoiser(scheduler.add_noise(z0, eps, t), t).float(), eps)


def warmup_cosine(step: int, first: int, last: int, warmup: int = 100) -> float:
    """Share of the peak learning rate: 0 before step `first`, a linear rise, then a half cosine to 0 at `last`."""
    if step < first:
        return 0.0
    done = min((step - first) / max(last - first, 1), 1.0)
    return min(1.0, (step - first + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def ddim_sample(denoiser: Denoiser, noise: Tensor, config: Mapping[str, Any], pixels: bool) -> Tensor:
    """Noise to clean latents by deterministic DDIM (Song et al. 2021, Eq. 12) in a few steps.

    Args:
        denoiser: eps_theta.
        noise: z_T [B, C, h, w].
        config: The configuration of the scheduler.
        pixels: Whether z_0 is an image, whose prediction may be clipped.
    """
    schedule = ddim_schedule(config, SAMPLING_STEPS, pixels)
    z = noise
    for step in schedule.steps:
        t = torch.full((len(z),), int(step.noisy.time), device=z.device)
        z = transfer(schedule.prediction, z, denoiser(z, t), step.noisy, step.clean, schedule.clip)
    return z
