"""The samplers as pure functions, against loops over diffusers' schedulers with one made-up network."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from augment.backbones.samplers import StepNetwork, first_order, midpoint, multistep
from augment.backbones.schedule import ddim_schedule, flow_schedule

DDPM = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": False}
SD15 = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
CLIPPED = DDPM | {"clip_sample": True, "clip_sample_range": 0.7}
CONFIGS = pytest.mark.parametrize("config", [DDPM, SD15, CLIPPED], ids=["ddpm", "sd15", "clipped"])
STEPS = 6
every_part = pytest.mark.parametrize("left", [STEPS, 4, 1])


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 3, 4, 4)), generator=torch.Generator().manual_seed(seed))


def network(z: Tensor, time: float, number: int) -> Tensor:
    """Depends on all that it is told."""
    return 0.4 * torch.sin(2 * z) + time / 1500 + number / 10


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=3e-5, rtol=2e-4)  # diffusers' levels are float32


@CONFIGS
@every_part
@pytest.mark.parametrize("clean", [False, True])
def test_first_order_is_diffusers_ddim(config: Mapping[str, Any], left: int, clean: bool) -> None:
    """From noise at any place of the schedule, and from a clean latent with the noise that belongs to that place."""
    theirs = DDIMScheduler.from_config(config)
    theirs.set_timesteps(STEPS)
    z, noise = normal(0), normal(1) if clean else None
    expected = z if noise is None else theirs.add_noise(z, noise, theirs.timesteps[-left].repeat(2))
    for number in range(STEPS - left, STEPS):
        time = theirs.timesteps[number]
        expected = theirs.step(network(expected, float(time), number), time, expected).prev_sample
    close(first_order(network, ddim_schedule(config, STEPS, pixels=True), z, noise, left), expected)


@CONFIGS
@every_part
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_fresh_noise_is_diffusers_with_each_latents_own_seed(config: Mapping[str, Any], left: int, eta: float) -> None:
    theirs = DDIMScheduler.from_config(config)
    theirs.set_timesteps(STEPS)
    z = expected = normal(0)
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 3)]
    for number in range(STEPS - left, STEPS):
        time = theirs.timesteps[number]
        fresh = torch.stack([torch.randn(3, 4, 4, generator=generator) for generator in generators])
        output = network(expected, float(time), number)
        expected = theirs.step(output, time, expected, eta=eta, variance_noise=fresh).prev_sample
    found = first_order(network, ddim_schedule(config, STEPS, pixels=True), z, None, left, eta, (7, 3))
    close(found, expected)


def test_without_eta_seeds_change_nothing() -> None:
    schedule, z = ddim_schedule(SD15, STEPS), normal(0)
    plain = first_order(network, schedule, z, None, STEPS)
    assert torch.equal(first_order(network, schedule, z, None, STEPS, 0.0, (1, 2)), plain)
    assert not torch.equal(first_order(network, schedule, z, None, STEPS, 1.0, (1, 2)), plain)


@every_part
@pytest.mark.parametrize("clean", [False, True])
def test_first_order_is_diffusers_euler_for_flow_models(left: int, clean: bool) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(STEPS)
    theirs.set_begin_index(STEPS - left)
    z, noise = normal(0), normal(1) if clean else None
    expected = z if noise is None else theirs.scale_noise(z, theirs.timesteps[-left].repeat(2), noise)
    for number in range(STEPS - left, STEPS):
        time = theirs.timesteps[number]
        expected = theirs.step(network(expected, float(time), number), time, expected).prev_sample
    close(first_order(network, flow_schedule({"shift": 3.0}, STEPS), z, noise, left), expected)


@every_part
@pytest.mark.parametrize("clean", [False, True])
def test_midpoint_is_the_midpoint_rule(left: int, clean: bool) -> None:
    """dz/dsigma = v(z, sigma): z + h v(z + h / 2 v(z, sigma), sigma + h / 2), h a step in sigma; time = 1000 sigma."""
    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(STEPS)
    z, noise = normal(0), normal(1) if clean else None
    sigmas = theirs.sigmas.tolist()
    start = sigmas[STEPS - left]
    expected = z if noise is None else (1 - start) * z + start * noise
    for number in range(STEPS - left, STEPS):
        here, there = sigmas[number : number + 2]
        half = expected + (there - here) / 2 * network(expected, 1000 * here, number)
        expected = expected + (there - here) * network(half, 1000 * (here + there) / 2, number)
    close(midpoint(network, flow_schedule({"shift": 3.0}, STEPS), z, noise, left), expected)


@CONFIGS
@every_part
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("theirs", [{}, {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}], ids=["", "other"])
def test_multistep_is_diffusers_dpm_solver(
    config: Mapping[str, Any], left: int, clean: bool, theirs: dict[str, Any]
) -> None:
    """Of second order and deterministic, whatever else the checkpoint's configuration says."""
    scheduler = DPMSolverMultistepScheduler.from_config(
        dict(config), algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint"
    )
    scheduler.set_timesteps(STEPS)
    times = scheduler.timesteps[STEPS - left :]
    scheduler.set_begin_index(STEPS - left)
    z, noise = normal(0), normal(1) if clean else None
    expected = z if noise is None else scheduler.add_noise(z, noise, times[:1].repeat(2))
    for number, time in enumerate(times, STEPS - left):
        expected = scheduler.step(network(expected, float(time), number), time, expected).prev_sample
    close(multistep(network, dict(config) | theirs, STEPS, z, noise, left), expected)


@pytest.mark.parametrize("kind", ["first-order", "midpoint", "dpm++"])
def test_each_step_has_its_number_counted_from_the_noisiest(kind: str) -> None:
    calls: list[int] = []

    def counted(z: Tensor, time: float, number: int) -> Tensor:
        calls.append(number)
        return network(z, time, number)

    told: StepNetwork = counted
    if kind == "first-order":
        first_order(told, ddim_schedule(SD15, STEPS), normal(0), None, 3)
    elif kind == "midpoint":
        midpoint(told, flow_schedule({"shift": 3.0}, STEPS), normal(0), None, 3)
    else:
        multistep(told, SD15, STEPS, normal(0), None, 3)
    assert calls == ([3, 3, 4, 4, 5, 5] if kind == "midpoint" else [3, 4, 5])
