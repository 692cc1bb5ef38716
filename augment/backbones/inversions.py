"""Clean latents to noise: every way of running the deterministic sampler backwards.

A `Network` is the guided prediction with its condition already bound: (z [B, C, h, w], time) -> output. Each function
walks the schedule upwards, from its last step (the cleanest) to its first; added noise may stand for the first steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from augment.backbones.schedule import Schedule, add_noise, halfway, transfer, undo_transfer

InversionKind = Literal["ddim", "euler", "fixed-point", "midpoint", "null-text", "negative-prompt"]
Network = Callable[[Tensor, float], Tensor]
NullNetwork = Callable[[Tensor, float, Tensor | None], Tensor]
"""As `Network`, with the unconditional embeddings [B, S, D] as third argument; without them, without guidance."""


@dataclass(frozen=True)
class Forward:
    """Noise that is added instead of the first steps, where the network's is least diverse (Staniszewski et al. 2024).

    Attributes:
        steps: How many steps it takes the place of, from the cleanest on; 1 or more.
        noise: Standard normal, like the clean latents [B, C, h, w].
    """

    steps: int
    noise: Tensor


def begin(schedule: Schedule, clean: Tensor, forward: Forward | None) -> tuple[list[Tensor], Schedule]:
    """The latents from z_0 to where the network's way begins, one for each level, and the steps that are left to it."""
    if forward is None:
        return [clean], schedule
    noise, skipped = forward.noise.to(clean), schedule.steps[-forward.steps :]
    path = [clean, *(add_noise(clean, noise, step.noisy) for step in reversed(skipped))]
    return path, replace(schedule, steps=schedule.steps[: -forward.steps])


def invert(
    kind: InversionKind,
    network: Network,
    schedule: Schedule,
    clean: Tensor,
    tolerance: float,
    iterations: int,
    forward: Forward | None = None,
) -> tuple[Tensor, Tensor]:
    """Noise by any kind but `null-text`, which optimises on the way back too.

    Args:
        kind: The algorithm; `negative-prompt` goes up as `ddim` or `euler` does.
        network: Guided prediction.
        schedule: The schedule of the sampler to be inverted.
        clean: Clean latents z_0 [B, C, h, w].
        tolerance: See `fixed_point`.
        iterations: See `fixed_point`.
        forward: What takes the place of the first steps.

    Returns:
        The noise [B, C, h, w], and the residual of `fixed_point` [B]: 0 for the other kinds, which measure none.
    """
    (*_, z), schedule = begin(schedule, clean, forward)
    if kind == "fixed-point":
        return fixed_point(network, schedule, z, tolerance, iterations)
    unmeasured = torch.zeros(len(z), device=z.device)
    if kind == "midpoint":
        return midpoint(network, schedule, z), unmeasured
    for noisier in explicit(network, schedule, z):
        z = noisier
    return z, unmeasured


def explicit(network: Network, schedule: Schedule, z: Tensor) -> Iterator[Tensor]:
    """Each step trusts the network's output at its clean end; yields z after every step.

    For diffusion models this is DDIM inversion (Song et al. 2021, Eq. 13), the network being told the time of the
    noisy end and predicted images being clipped as in diffusers' DDIMInverseScheduler. For flow models it is Euler's
    method run upwards, the network being told the time of the clean end, where z stands: on a straight path the
    velocity there is the right one.
    """
    for step in reversed(schedule.steps):
        time = step.clean.time if schedule.prediction == "flow" else step.noisy.time
        z = transfer(schedule.prediction, z, network(z, time), step.clean, step.noisy, schedule.clip)
        yield z


def fixed_point(
    network: Network, schedule: Schedule, z: Tensor, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Each step is solved exactly, by iterating on its noisy end (Meiri et al. 2023; Pan et al. 2023).

    The sampler's step is z_clean = f(z_noisy, network(z_noisy)); its noisy end is the fixed point of
    z <- f^-1(z_clean, network(z)). An image whose iteration has converged is left alone, so that its latent does not
    depend on the others of its batch.

    Args:
        network: Guided prediction.
        schedule: The schedule of the sampler to be inverted.
        z: Clean latents [B, C, h, w].
        tolerance: Relative change below which an image has converged.
        iterations: Most iterations per step.

    Returns:
        The noise, and per image [B] the largest relative change of a last iteration: the residual. Of a sampler that
        clips its images it is also how far a step down from the result misses.
    """
    worst = torch.zeros(len(z), device=z.device)
    for step in reversed(schedule.steps):
        clean = z
        residual = torch.full_like(worst, torch.inf)
        for _ in range(iterations):
            better = undo_transfer(schedule.prediction, clean, network(z, step.noisy.time), step)
            active = residual > tolerance
            change = _norms(better - z) / _norms(better)
            residual = torch.where(active, change, residual)
            z = torch.where(active[:, None, None, None], better, z)
            if not bool((residual > tolerance).any()):
                break
        if schedule.clip is not None:  # the sampler may clip what the iteration did not: then nothing leads back
            output = network(z, step.noisy.time)
            reached = transfer(schedule.prediction, z, output, step.noisy, step.clean, schedule.clip)
            residual = torch.maximum(residual, _norms(reached - clean) / _norms(clean))
        worst = torch.where(residual.isfinite(), torch.maximum(worst, residual), worst)
    return z, worst


def midpoint(network: Network, schedule: Schedule, z: Tensor) -> Tensor:
    """Second-order inversion of a flow model: each step takes the velocity half-way up (RF-Solver, Wang et al. 2024).

    Two evaluations a step, and an error of third order in the step's length.
    """
    for step in reversed(schedule.steps):
        middle = halfway(step)
        half = transfer("flow", z, network(z, step.clean.time), step.clean, middle)
        z = z + (step.noisy.sigma - step.clean.sigma) * network(half, middle.time)
    return z


def null_text(
    network: NullNetwork,
    schedule: Schedule,
    clean: Tensor,
    embeddings: Tensor,
    tolerance: float,
    iterations: int,
    forward: Forward | None = None,
) -> tuple[Tensor, Tensor]:
    """Noise, and unconditional embeddings that bring guided sampling back along its path (Mokady et al. 2023, Alg. 1).

    The way up is `explicit` without guidance. On the way down, Adam starts at each step from the embeddings of the
    step before, its learning rate falls from 1e-2 to half of that, and the tolerance grows, as in the authors' code.
    Must run outside of inference mode.

    Args:
        network: Guided prediction for given unconditional embeddings, and prediction without guidance.
        schedule: The schedule of the sampler.
        clean: Clean latents z_0 [B, C, h, w].
        embeddings: Embeddings of the empty prompt [B, S, D].
        tolerance: Mean squared error at which an image's embeddings are good enough.
        iterations: Most optimiser steps per step of the sampler.
        forward: What takes the place of the first steps up; the way down optimises all of them.

    Returns:
        The noise z_T [B, C, h, w], and embeddings for each step of the sampler, noisiest first: [B, steps, S, D].
    """
    path, upper = begin(schedule, clean, forward)
    trajectory = [*path, *explicit(lambda z, time: network(z, time, None), upper, path[-1])]  # z_0 … z_T
    z = noise = trajectory[-1]
    optimised: list[Tensor] = []
    for number, step in enumerate(schedule.steps):
        target = trajectory[-2 - number]
        embeddings = embeddings.detach().clone().requires_grad_(True)
        optimizer = torch.optim.Adam([embeddings], lr=1e-2 * (1 - number / (2 * len(schedule.steps))))
        good_enough = tolerance * (1 + 2 * number)
        for _ in range(iterations):
            with torch.enable_grad():
                output = network(z, step.noisy.time, embeddings)
                reached = transfer(schedule.prediction, z, output, step.noisy, step.clean)
                errors = (reached - target).square().mean(dim=(1, 2, 3))  # [B]
                (gradient,) = torch.autograd.grad(errors.sum(), embeddings)
            done = errors.detach() < good_enough
            if bool(done.all()):
                break
            before = embeddings.detach().clone()
            embeddings.grad = gradient
            optimizer.step()
            with torch.no_grad():  # an image that has arrived keeps its embeddings, whatever the others of its batch do
                embeddings.copy_(torch.where(done[:, None, None], before, embeddings))
        embeddings = embeddings.detach()
        with torch.no_grad():
            output = network(z, step.noisy.time, embeddings)
            z = transfer(schedule.prediction, z, output, step.noisy, step.clean)
        optimised.append(embeddings)
    return noise, torch.stack(optimised, dim=1)


def _norms(z: Tensor) -> Tensor:
    return z.flatten(1).norm(dim=1)
