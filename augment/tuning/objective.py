"""The loss of a tuning: the backbone's own objective, at random noise levels of its own schedule.

Notation: z = alpha * x0 + sigma * eps at a noise level; the network predicts eps (Ho et al. 2020, Eq. 14),
v = alpha * eps - sigma * x0 (Salimans & Ho 2022, Appendix D), or the velocity eps - x0 of a flow (Lipman et al. 2023).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from augment.backbones.schedule import Schedule, output_for

LEVELS = 500
"""Noise levels that are drawn from: every other one of the usual thousand, which all families can name."""

Network = Callable[[Tensor, Tensor], Tensor]
"""The network's output for z [B, C, h, w] at times [B], like z."""


@dataclass(frozen=True)
class Draw:
    """What a step of the training draws for its latents.

    Attributes:
        eps: Standard normal noise [B, C, h, w].
        levels: Places in the schedule [B].
    """

    eps: Tensor
    levels: Tensor


def draw_noise(shape: tuple[int, ...], levels: int, generator: torch.Generator) -> Draw:
    """Noise, and uniform places in a schedule, for latents [B, C, h, w]; the same on every device."""
    return Draw(torch.randn(shape, generator=generator), torch.randint(0, levels, (shape[0],), generator=generator))


def denoising_loss(network: Network, schedule: Schedule, x0: Tensor, draw: Draw) -> Tensor:
    """Mean squared error of the network's output at the drawn noise levels, []."""
    levels = [schedule.steps[place].noisy for place in draw.levels.tolist()]
    alpha, sigma, time = (
        torch.tensor([getattr(level, name) for level in levels], device=x0.device, dtype=torch.float32)
        for name in ("alpha", "sigma", "time")
    )
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    eps = draw.eps.to(x0.device)
    z = alpha * x0 + sigma * eps  # [B, C, h, w]
    return F.mse_loss(network(z, time).float(), output_for(schedule.prediction, x0, eps, alpha, sigma))
