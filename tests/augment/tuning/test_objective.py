"""The loss of a tuning: diffusers' own noise and targets, drawn alike on every machine."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from augment.backbones.schedule import Schedule, clean_and_noise, ddim_schedule, flow_schedule, output_for
from augment.tuning.objective import Draw, denoising_loss, draw_noise


def draw_of(schedule: Schedule) -> tuple[Tensor, Draw]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 4, 2, 2, generator=generator), draw_noise((3, 4, 2, 2), len(schedule.steps), generator)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_diffusion_models_learn_what_diffusers_trains_them_for(prediction: str) -> None:
    """DDPMScheduler's `add_noise` and `get_velocity` are what diffusers' training scripts use."""
    config = DDIMScheduler(prediction_type=prediction, steps_offset=1, beta_schedule="scaled_linear").config
    schedule, oracle = ddim_schedule(config, 500), DDPMScheduler.from_config(config)
    x0, draw = draw_of(schedule)
    times = torch.tensor([int(schedule.steps[place].noisy.time) for place in draw.levels.tolist()])
    target = {"epsilon": draw.eps, "v_prediction": oracle.get_velocity(x0, draw.eps, times), "sample": x0}[prediction]
    seen: list[Tensor] = []

    def network(z: Tensor, time: Tensor) -> Tensor:
        seen.extend((z, time))
        return target + 0.5

    assert float(denoising_loss(network, schedule, x0, draw)) == pytest.approx(0.25, abs=1e-5)
    torch.testing.assert_close(seen[0], oracle.add_noise(x0, draw.eps, times), atol=1e-5, rtol=1e-5)
    assert seen[1].tolist() == times.tolist()


def test_flow_models_learn_the_velocity() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    schedule = flow_schedule(scheduler.config, 500)
    scheduler.set_timesteps(500)
    x0, draw = draw_of(schedule)
    seen: list[Tensor] = []

    def network(z: Tensor, time: Tensor) -> Tensor:
        seen.extend((z, time))
        return draw.eps - x0

    assert float(denoising_loss(network, schedule, x0, draw)) == 0
    torch.testing.assert_close(seen[1], scheduler.timesteps[draw.levels])
    for row, time in enumerate(seen[1]):
        theirs = scheduler.scale_noise(x0[row : row + 1], time[None], draw.eps[row : row + 1])
        torch.testing.assert_close(seen[0][row : row + 1], theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
def test_what_should_be_said_means_what_was_mixed(prediction: str) -> None:
    schedule = flow_schedule(FlowMatchEulerDiscreteScheduler().config, 4)
    level = schedule.steps[1].noisy if prediction == "flow" else ddim_schedule(DDIMScheduler().config, 4).steps[1].noisy
    x0, eps = torch.randn(2, 2, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    output = output_for(prediction, x0, eps, level.alpha, level.sigma)  # type: ignore[arg-type]
    back = clean_and_noise(prediction, level.alpha * x0 + level.sigma * eps, output, level)  # type: ignore[arg-type]
    torch.testing.assert_close(torch.stack(back), torch.stack([x0, eps]), atol=1e-5, rtol=1e-5)


def test_every_level_is_drawn_about_as_often() -> None:
    levels = draw_noise((4000, 1, 1, 1), 10, torch.Generator().manual_seed(0)).levels
    counts = torch.bincount(levels, minlength=10)
    assert len(counts) == 10 and counts.min() > 330 and counts.max() < 470
