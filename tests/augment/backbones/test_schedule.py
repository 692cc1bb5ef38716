"""Our samplers against diffusers' schedulers, step by step: same z_t, same network output, same noise."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler
from torch import Tensor

from augment.backbones.inversions import explicit, fixed_point
from augment.backbones.schedule import ddim_schedule, stochastic_transfer, transfer
from augment.errors import UserError

DDPM = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "clip_sample": False}
SD15 = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
CLIPPED = DDPM | {"clip_sample": True}
SHAPE = (2, 3, 4, 4)


def draw(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-4)  # diffusers' levels are float32


@pytest.mark.parametrize("config", [DDPM, SD15, CLIPPED], ids=["ddpm", "sd15", "clipped"])
@pytest.mark.parametrize("eta", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("steps", [10, 50])
def test_each_ddim_step_is_diffusers_own(config: Mapping[str, Any], steps: int, eta: float) -> None:
    """S < T and any eta (Song et al. 2021, Eq. 12 and 16)."""
    theirs = DDIMScheduler(**config)
    theirs.set_timesteps(steps)
    schedule = ddim_schedule(config, steps, pixels=True)
    assert [step.noisy.time for step in schedule.steps] == theirs.timesteps.tolist()
    z = draw(0)
    for number, (step, time) in enumerate(zip(schedule.steps, theirs.timesteps, strict=True), 1):
        output, noise = 0.8 * z + 0.3 * draw(number), draw(1000 + number)
        # With clipping, diffusers keeps the network's noise as ours does (use_clipped_model_output is off).
        expected = theirs.step(output, time, z, eta=eta, variance_noise=noise).prev_sample
        if eta:
            ours = stochastic_transfer(schedule.prediction, z, output, step, eta, noise, schedule.clip)
        else:
            ours = transfer(schedule.prediction, z, output, step.noisy, step.clean, schedule.clip)
        assert_close(ours, expected)
        z = expected


@pytest.mark.parametrize("steps", [10, 50, 1000], ids=["S=10", "S=50", "S=T"])
def test_each_step_with_eta_1_is_ddpms(steps: int) -> None:
    """Ancestral sampling (Ho et al. 2020, Algorithm 2) with sigma_t^2 = beta~_t, over all T steps or a part."""
    theirs = DDPMScheduler(**DDPM, variance_type="fixed_small")
    theirs.set_timesteps(steps)
    schedule = ddim_schedule(DDPM, steps, pixels=True)
    assert [step.noisy.time for step in schedule.steps] == theirs.timesteps.tolist()
    z = draw(0)
    for number, (step, time) in enumerate(zip(schedule.steps, theirs.timesteps, strict=True), 1):
        output = 0.8 * z + 0.3 * draw(number)
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(number))
        expected = theirs.step(output, time, z, generator=torch.Generator().manual_seed(number)).prev_sample
        if step.clean.time >= 0:  # the last step adds no noise
            ours = stochastic_transfer(schedule.prediction, z, output, step, 1.0, noise, schedule.clip)
        else:
            ours = transfer(schedule.prediction, z, output, step.noisy, step.clean, schedule.clip)
        assert_close(ours, expected)
        z = expected


def test_eta_says_how_much_of_the_noise_is_fresh() -> None:
    """The step's standard deviation over noises is eta times DDPM's; its mean does not depend on the noise."""
    (step, *_) = ddim_schedule(DDPM, 10, pixels=True).steps
    z, output = draw(0), draw(1)

    def spread(eta: float) -> Tensor:
        there, back = (stochastic_transfer("epsilon", z, output, step, eta, n * torch.ones(SHAPE)) for n in (1, -1))
        return (there - back) / 2

    torch.testing.assert_close(spread(0.5), 0.5 * spread(1.0), atol=1e-6, rtol=1e-5)
    assert spread(1.0).mean() > 0.1
    assert spread(0.0).abs().max() == 0


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(UserError, match=r"prediction_type is 'flow_prediction'; give a model that predicts epsilon"):
        ddim_schedule(DDPM | {"prediction_type": "flow_prediction"}, 5)


@pytest.mark.parametrize("clip", [True, False])
def test_explicit_inversion_clips_as_the_inverse_scheduler_does(clip: bool) -> None:
    """Images far outside of [-1, 1], so that clipping acts at every step."""
    config = DDPM | {"clip_sample": clip}
    scheduler = DDIMInverseScheduler.from_config(config)
    scheduler.set_timesteps(5)
    generator = torch.Generator().manual_seed(0)
    z = ours = 3 * torch.randn(2, 3, 8, 8, generator=generator)
    outputs = torch.randn(5, 2, 3, 8, 8, generator=generator)
    for time, output in zip(scheduler.timesteps, outputs, strict=True):
        z = scheduler.step(output, time, z).prev_sample
    given = iter(outputs)
    *_, found = explicit(lambda z, time: next(given), ddim_schedule(config, 5, pixels=True), ours)
    torch.testing.assert_close(found, z, atol=1e-5, rtol=1e-4)


def test_fixed_point_says_that_a_clipping_sampler_does_not_lead_back() -> None:
    schedule = ddim_schedule(DDPM | {"clip_sample": True}, 5, pixels=True)
    z = 3 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    _, residual = fixed_point(lambda z, time: torch.zeros_like(z), schedule, z, 1e-6, 20)
    assert float(residual.min()) > 0.5
    inside = z.clamp(-0.5, 0.5)
    _, residual = fixed_point(lambda z, time: torch.zeros_like(z), schedule, inside, 1e-6, 20)
    assert float(residual.max()) < 1e-5
