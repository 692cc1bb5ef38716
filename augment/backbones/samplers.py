"""Noise to clean latents: every way of running the sampler down the schedule; the twin of `inversions`.

A `StepNetwork` is the guided prediction with its conditions already bound: (z [B, C, h, w], time, number) -> output,
`number` counting the steps of the whole schedule from its noisiest. Each function makes the last `left` steps, from z
where they begin; if `noise` is given, z is clean, and the noise is added to it first (SDEdit, Meng et al. 2022).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from augment.backbones.schedule import Schedule, Step, add_noise, halfway, stochastic_transfer, transfer
from augment.backbones.start import upload

StepNetwork = Callable[[Tensor, float, int], Tensor]


def first_order(
    network: StepNetwork,
    schedule: Schedule,
    z: Tensor,
    noise: Tensor | None,
    left: int,
    eta: float = 0.0,
    seeds: Sequence[int] = (),
) -> Tensor:
    """One evaluation a step: DDIM (Song et al. 2021, Eq. 12), or Euler's method for flow models.

    Args:
        network: Guided prediction.
        schedule: The schedule of the sampler.
        z: Latents [B, C, h, w].
        noise: Noise to be added to z, like z, or None.
        left: Steps to make.
        eta: Share of fresh noise (DDIM alone): 0 is deterministic, 1 is DDPM.
        seeds: One per latent; they decide the fresh noise.
    """
    z = _begin(schedule, z, noise, left)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for number, step in _last(schedule, left):
        output = network(z, step.noisy.time, number)
        if eta > 0 and step.clean.sigma > 0:
            drawn = torch.stack([torch.randn(z.shape[1:], generator=generator) for generator in generators])
            fresh = upload(drawn, z.device)
            z = stochastic_transfer(schedule.prediction, z, output, step, eta, fresh, schedule.clip)
        else:
            z = transfer(schedule.prediction, z, output, step.noisy, step.clean, schedule.clip)
    return z


def midpoint(network: StepNetwork, schedule: Schedule, z: Tensor, noise: Tensor | None, left: int) -> Tensor:
    """Two evaluations a step, for flow models: each step takes the velocity half-way down."""
    z = _begin(schedule, z, noise, left)
    for number, step in _last(schedule, left):
        middle = halfway(step)
        half = transfer(schedule.prediction, z, network(z, step.noisy.time, number), step.noisy, middle)
        z = z + (step.clean.sigma - step.noisy.sigma) * network(half, middle.time, number)
    return z


def multistep(
    network: StepNetwork, config: Mapping[str, Any], steps: int, z: Tensor, noise: Tensor | None, left: int
) -> Tensor:
    """DPM-Solver++ 2M (Lu et al. 2022), by diffusers' scheduler with the checkpoint's configuration.

    Args:
        network: Guided prediction.
        config: The configuration of the checkpoint's scheduler.
        steps: Steps of the whole schedule.
        z: Latents [B, C, h, w].
        noise: Noise to be added to z, like z, or None.
        left: Steps to make.
    """
    scheduler = DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(steps)  # its tables stay in host memory, so that no step waits for the device
    scheduler.set_begin_index(steps - left)
    if noise is not None:
        z = scheduler.add_noise(z, noise, scheduler.timesteps[-left].repeat(len(z)))
    for number, time in enumerate(scheduler.timesteps.tolist()[-left:], steps - left):
        z = scheduler.step(network(z, time, number), time, z, return_dict=False)[0]
    return z


def _begin(schedule: Schedule, z: Tensor, noise: Tensor | None, left: int) -> Tensor:
    return z if noise is None else add_noise(z, noise, schedule.steps[-left].noisy)


def _last(schedule: Schedule, left: int) -> Iterator[tuple[int, Step]]:
    return enumerate(schedule.steps[-left:], len(schedule.steps) - left)
