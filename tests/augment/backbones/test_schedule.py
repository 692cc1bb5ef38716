"""Our samplers against diffusers' schedulers, step by step: same z_t, same network output, same noise."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from augment.backbones.inversions import explicit, fixed_point
from augment.backbones.schedule import (
    Level,
    Prediction,
    Step,
    add_noise,
    clean_and_noise,
    ddim_schedule,
    flow_schedule,
    fresh_noise,
    halfway,
    stochastic_transfer,
    transfer,
)
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


# What an output means, and the levels themselves.


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_an_output_implies_the_clean_latent_and_the_noise(prediction: Prediction) -> None:
    """The true output, as each kind of model is trained to give it, implies the latents that it was made from."""
    schedule = flow_schedule({"shift": 3.0}, 7) if prediction == "flow" else ddim_schedule(SD15, 7)
    theirs = DDIMScheduler.from_config(SD15)
    x0, eps = draw(0).double(), draw(1).double()
    for step in schedule.steps:
        z = add_noise(x0, eps, step.noisy)
        if prediction == "flow":
            expected = (1 - step.noisy.time / 1000) * x0 + step.noisy.time / 1000 * eps
            output = eps - x0
        else:
            times = torch.full((2,), int(step.noisy.time))
            expected = theirs.add_noise(x0, eps, times)
            velocity = theirs.get_velocity(x0, eps, times)
            output = {"epsilon": eps, "v_prediction": velocity, "sample": x0}[prediction]
        assert_close(z, expected)
        for found, truth in zip(clean_and_noise(prediction, z, output, step.noisy), (x0, eps), strict=True):
            torch.testing.assert_close(found, truth, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("clip", [None, 0.4])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_step_of_any_prediction_is_diffusers_own(prediction: str, clip: float | None) -> None:
    config = SD15 | {"prediction_type": prediction, "clip_sample": clip is not None, "clip_sample_range": clip or 1.0}
    theirs = DDIMScheduler(**config)
    theirs.set_timesteps(7)
    schedule = ddim_schedule(config, 7)
    assert (schedule.prediction, schedule.clip) == (prediction, clip)
    for step, time in zip(schedule.steps, theirs.timesteps, strict=True):
        z, output = draw(0), draw(1)
        expected = theirs.step(output, time, z).prev_sample
        assert_close(transfer(schedule.prediction, z, output, step.noisy, step.clean, schedule.clip), expected)


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("told", [None, False, True])
def test_only_images_are_clipped_unless_the_checkpoint_says_so(pixels: bool, told: bool | None) -> None:
    config: dict[str, Any] = {"clip_sample_range": 1.5} | ({} if told is None else {"clip_sample": told})
    clipped = pixels if told is None else told
    assert ddim_schedule(config, 3, pixels).clip == (1.5 if clipped else None)
    if not pixels:
        assert ddim_schedule(config, 3).clip == (1.5 if clipped else None)


def test_more_steps_than_trained_are_refused() -> None:
    config = DDPM | {"num_train_timesteps": 20}
    assert len(ddim_schedule(config, 20).steps) == 20
    with pytest.raises(UserError, match=r"^steps: 21 is more than the 20 of the model's schedule; lower it$"):
        ddim_schedule(config, 21)


@pytest.mark.parametrize("to_one", [True, False])
def test_the_last_level_is_the_checkpoints(to_one: bool) -> None:
    theirs = DDIMScheduler(**DDPM, set_alpha_to_one=to_one)
    last = ddim_schedule(DDPM | {"set_alpha_to_one": to_one}, 10).steps[-1].clean
    squared = 1.0 if to_one else float(theirs.alphas_cumprod[0])
    assert last.time == -100
    assert (last.alpha**2, last.sigma**2) == pytest.approx((squared, 1 - squared), abs=1e-7)


@pytest.mark.parametrize("steps", [2, 3, 7, 28])
@pytest.mark.parametrize("config", [{}, {"shift": 3.0}, {"shift": 3.0, "shift_terminal": 0.1}])
def test_flow_levels_are_diffusers_own(steps: int, config: dict[str, Any]) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(**config)
    theirs.set_timesteps(steps)
    schedule = flow_schedule(config, steps)
    assert (schedule.prediction, schedule.clip) == ("flow", None)
    sigmas = theirs.sigmas.double().tolist()
    assert [step.noisy for step in schedule.steps] == [
        Level(time, 1 - sigma, sigma) for time, sigma in zip(theirs.timesteps.tolist(), sigmas[:-1], strict=True)
    ]
    assert [step.clean for step in schedule.steps] == [*(step.noisy for step in schedule.steps[1:]), Level(0, 1, 0)]


def test_one_step_cannot_be_stretched_between_two_ends() -> None:
    """diffusers divides 0 by 0 there."""
    with pytest.raises(UserError, match=r"steps: the model's schedule is stretched .*; give at least 2"):
        flow_schedule({"shift_terminal": 0.1}, 1)
    assert flow_schedule({}, 1).steps == (Step(Level(1000, 0, 1), Level(0, 1, 0)),)


def test_a_resolutions_shift_reaches_the_levels() -> None:
    config = {"use_dynamic_shifting": True}
    theirs = FlowMatchEulerDiscreteScheduler(**config)
    theirs.set_timesteps(5, mu=0.9)
    found = [step.noisy.sigma for step in flow_schedule(config, 5, 0.9).steps]
    assert found == theirs.sigmas.double().tolist()[:-1]
    assert found != [step.noisy.sigma for step in flow_schedule(config, 5, 0.5).steps]


def test_halfway_is_the_mean_of_both_ends() -> None:
    assert halfway(Step(Level(800, 0.25, 0.75), Level(400, 0.5, 0.5))) == Level(600, 0.375, 0.625)


def test_fresh_noise_is_ddpms_posterior_deviation() -> None:
    """Ho et al. 2020: beta~_t = (1 - abar_{t-1}) / (1 - abar_t) * beta_t, beta_t = 1 - abar_t / abar_{t-1}."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    kept = torch.cumprod(1 - betas, 0).tolist()
    for step in ddim_schedule(DDPM, 50).steps[:-1]:
        here, there = kept[int(step.noisy.time)], kept[int(step.clean.time)]
        assert fresh_noise(step) ** 2 == pytest.approx((1 - there) / (1 - here) * (1 - here / there), rel=1e-3)


def test_more_fresh_noise_than_there_is_leaves_none_of_the_predicted() -> None:
    """Rounding alone would make the square root's argument negative; so does an eta above 1."""
    step = Step(Level(500, 0.6, 0.8), Level(400, 0.8, 0.6))
    z, output, noise = draw(0), draw(1), draw(2)
    fresh = 2 * fresh_noise(step)
    assert fresh > step.clean.sigma
    expected = 0.8 * (z - 0.8 * output) / 0.6 + fresh * noise
    assert_close(stochastic_transfer("epsilon", z, output, step, 2.0, noise), expected)
    assert fresh_noise(Step(Level(400, 0.8, 0.6), Level(500, 0.6, 0.8))) == 0
