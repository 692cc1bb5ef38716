"""Starts inside the schedule and prompts that change on the way, against diffusers and against calls made by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
)
from tiny_families import save_pixel, save_sd3
from torch import Tensor

from augment.backbones.base import Backbone
from augment.backbones.pixel import PixelDiffusion
from augment.backbones.schedule import transfer
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.stable_diffusion_3 import StableDiffusion3
from augment.backbones.start import Condition, Sampler, Start, steps_left

PROMPTS = ("a photo of a cat", "a dog")


def pair(backbone: Backbone) -> tuple[Tensor, Tensor]:
    """Clean latents, and the noise that a generator of seed 1 gives."""
    shape = (2, *backbone.latent_shape)
    clean = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return clean, torch.randn(shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def img2img(pipe: Any, clean: Tensor, strength: float, guidance: float, steps: int) -> Tensor:
    """z_0 by diffusers; a latent in place of the image is not encoded."""
    pipe.set_progress_bar_config(disable=True)
    latents: Tensor = pipe(
        prompt=list(PROMPTS),
        image=clean,
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
    ).images
    return latents


# Where the last two are rounded, one step more is made than diffusers makes.
STRENGTHS = [(0.5, 1.0), (0.8, 3.0), (1.0, 1.0), (0.1, 3.0), (0.75, 1.0), (0.29, 1.0)]


@pytest.mark.parametrize("kind", ["first-order", "dpm++"])
@pytest.mark.parametrize(("strength", "guidance"), STRENGTHS)
@torch.no_grad()
def test_sdedit_is_diffusers_image_to_image(model_folder: Path, strength: float, guidance: float, kind: Any) -> None:
    backbone = StableDiffusion(str(model_folder))
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(model_folder, safety_checker=None, torch_dtype=torch.float32)
    if kind == "dpm++":
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(
            backbone.scheduler_config, algorithm_type="dpmsolver++", solver_order=2
        )
    else:
        pipe.scheduler = DDIMScheduler.from_config(backbone.scheduler_config, clip_sample=False)
    clean, noise = pair(backbone)
    ours = backbone.denoise(Start(clean, PROMPTS, strength, noise=noise), 10, guidance, Sampler(kind))
    torch.testing.assert_close(ours, img2img(pipe, clean, strength, guidance, 10), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 10, 25, 50, 999])
@pytest.mark.parametrize("strength", [1e-4, 0.1, 0.29, 0.3, 0.57, 0.7, 0.75, 0.999, 1.0])
def test_steps_left_are_diffusers_own_and_at_least_one(steps: int, strength: float) -> None:
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(steps)
    _, count = StableDiffusionImg2ImgPipeline.get_timesteps(SimpleNamespace(scheduler=scheduler), steps, strength, None)
    assert steps_left(steps, strength) == max(1, count)


@torch.no_grad()
def test_sdedit_of_a_flow_model_is_diffusers_image_to_image(tmp_path: Path) -> None:
    folder = save_sd3(tmp_path / "sd3")
    backbone = StableDiffusion3(str(folder))
    pipe = StableDiffusion3Img2ImgPipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    clean, noise = pair(backbone)
    ours = backbone.denoise(Start(clean, PROMPTS, 0.5, noise=noise), 6, 2.0)
    torch.testing.assert_close(ours, img2img(pipe, clean, 0.5, 2.0, 6), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("switch", [0.3, 0.0, 1.0])
@torch.no_grad()
def test_late_prompts_take_over_at_the_switch(model_folder: Path, switch: float) -> None:
    """By hand, as Diff-II: the first prompt while t >= (1 - switch) * T, the other from there on."""
    backbone = StableDiffusion(str(model_folder))
    noise, _ = pair(backbone)
    z, used = noise, []
    schedule = backbone.schedule(8)
    for step in schedule.steps:
        first = step.noisy.time >= 1000 * (1 - switch)
        used.append(first)
        condition: Condition = backbone.condition(PROMPTS if first else PROMPTS[::-1])
        output = backbone.predict(z, step.noisy.time, condition)
        z = transfer(schedule.prediction, z, output, step.noisy, step.clean)
    start = Start(noise, PROMPTS, late_prompts=PROMPTS[::-1], switch=switch)
    torch.testing.assert_close(backbone.denoise(start, 8, 1.0), z)
    assert used.count(True) == round(8 * switch)
    if 0 < switch < 1:
        assert not torch.allclose(backbone.denoise(Start(noise, PROMPTS), 8, 1.0), z)


def test_what_prompts_tell_each_family(model_folder: Path, tmp_path: Path) -> None:
    assert StableDiffusion(str(model_folder)).prompts == "text"
    assert PixelDiffusion(str(save_pixel(tmp_path / "plain"))).prompts == "none"
    assert PixelDiffusion(str(save_pixel(tmp_path / "classes", classes=3))).prompts == "class"
