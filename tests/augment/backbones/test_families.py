"""Every family against diffusers' own pipeline: same latents, prompts, steps and guidance give the same image."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job
from diffusers import (
    DDIMInverseScheduler,
    DDIMPipeline,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from tiny_families import SIDE, save_pixel, save_sd3, save_sdxl
from torch import Tensor

from augment.backbones.base import Backbone
from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.stable_diffusion_3 import StableDiffusion3
from augment.backbones.stable_diffusion_xl import StableDiffusionXL
from augment.backbones.start import Sampler, Start, stack
from augment.cli import main
from augment.dataset.reader import read_shard
from augment.errors import UserError

PROMPTS = ("a photo of a cat", "a dog")
SETTINGS = {"height": SIDE, "width": SIDE, "output_type": "pt"}


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sdxl(tmp_path_factory.mktemp("models") / "sdxl")


@pytest.fixture(scope="module")
def sd3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sd3(tmp_path_factory.mktemp("models") / "sd3")


@pytest.fixture(scope="module")
def pixel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pixel(tmp_path_factory.mktemp("models") / "pixel", num_train_timesteps=1000)


def load(pipeline: Any, folder: Path, **more: Any) -> Any:
    pipe = pipeline.from_pretrained(folder, **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_sd3(folder: Path) -> Any:
    index = json.loads((folder / "model_index.json").read_text())
    absent = {part: None for part in ("text_encoder_3", "tokenizer_3") if index[part][0] is None}
    return load(StableDiffusion3Pipeline, folder, **absent)


def noise(backbone: Backbone, count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, *backbone.latent_shape, generator=torch.Generator().manual_seed(seed))


def images(backbone: Backbone, start: Start, steps: int, guidance: float, sampler: Sampler = Sampler()) -> Tensor:  # noqa: B008
    return backbone.decode(backbone.denoise(start, steps, guidance, sampler)) / 2 + 0.5


def set_scheduler(folder: Path, **values: Any) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# Text-to-image of each family.


@torch.no_grad()
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_sdxl_makes_the_images_of_its_pipeline(tmp_path: Path, guidance: float, zeros: bool) -> None:
    folder = save_sdxl(tmp_path / "sdxl", zeros)
    backbone, pipe = StableDiffusionXL(str(folder)), load(StableDiffusionXLPipeline, folder)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    latents = noise(backbone)
    theirs = pipe(
        list(PROMPTS), latents=latents.clone(), num_inference_steps=4, guidance_scale=guidance, **SETTINGS
    ).images
    assert (images(backbone, Start(latents, PROMPTS), 4, guidance) - theirs).abs().max() <= 1e-4
    assert theirs.std() > 0.01  # a flat image would equal anything's


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("t5", [False, True])
def test_sd3_makes_the_images_of_its_pipeline(tmp_path: Path, guidance: float, t5: bool) -> None:
    folder = save_sd3(tmp_path / "sd3", t5)
    backbone, pipe = StableDiffusion3(str(folder), prompt_tokens=20), load_sd3(folder)
    latents = noise(backbone)
    theirs = pipe(
        list(PROMPTS),
        latents=latents.clone(),
        num_inference_steps=5,
        guidance_scale=guidance,
        max_sequence_length=20,
        **SETTINGS,
    ).images
    assert (images(backbone, Start(latents, PROMPTS), 5, guidance) - theirs).abs().max() <= 1e-4
    assert theirs.std() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("scheduler", [{"shift": 1.0}, {"shift": 5.0}, {"use_dynamic_shifting": True}])
def test_sd3_follows_the_shift_of_its_schedule(tmp_path: Path, scheduler: dict[str, Any]) -> None:
    folder = save_sd3(tmp_path / "sd3", **scheduler)
    backbone, pipe = StableDiffusion3(str(folder)), load_sd3(folder)
    latents = noise(backbone)
    theirs = pipe(list(PROMPTS), latents=latents.clone(), num_inference_steps=3, guidance_scale=2.0, **SETTINGS).images
    assert (images(backbone, Start(latents, PROMPTS), 3, 2.0) - theirs).abs().max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("clip", [True, False])
def test_pixel_models_make_the_images_of_the_ddim_pipeline(tmp_path: Path, clip: bool) -> None:
    folder = save_pixel(tmp_path / "pixel", ddim=True, clip_sample=clip)
    backbone, pipe = PixelDiffusion(str(folder)), load(DDIMPipeline, folder)
    theirs = pipe(
        batch_size=2, generator=torch.Generator().manual_seed(0), num_inference_steps=5, output_type="pt"
    ).images
    assert (images(backbone, Start(noise(backbone), ("", "")), 5, 1.0) - theirs).abs().max() <= 1e-4


@torch.no_grad()
def test_eta_1_with_every_step_is_ddpm(tmp_path: Path) -> None:
    """DDIM with eta = 1 is DDPM's ancestral sampling (Song et al. 2021, Section 4.1), noise for noise."""
    folder = save_pixel(tmp_path / "pixel", num_train_timesteps=12, clip_sample=False, beta_end=0.3)
    backbone = PixelDiffusion(str(folder))
    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(12)
    z = latents = noise(backbone, 1)
    generator = torch.Generator().manual_seed(77)
    for t in scheduler.timesteps:
        z = scheduler.step(backbone.unet(z, t).sample, t, z, generator=generator).prev_sample
    ours = backbone.denoise(Start(latents, ("x",), seeds=(77,)), 12, 1.0, Sampler(eta=1.0))
    assert (ours - z).abs().max() <= 1e-4
    assert (ours - backbone.denoise(Start(latents, ("x",)), 12, 1.0)).abs().max() > 0.1


@torch.no_grad()
def test_class_conditional_pixels(tmp_path: Path) -> None:
    folder = save_pixel(tmp_path / "pixel", classes=4, clip_sample=False)
    backbone = PixelDiffusion(str(folder), class_names=("cat", "dog", "owl"), null_class=3)
    latents = noise(backbone)
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", clip_sample=False)
    scheduler.set_timesteps(3)
    z = latents
    for t in scheduler.timesteps:
        outputs = [backbone.unet(z, t, class_labels=torch.tensor(c)).sample for c in ([3, 3], [2, 1])]
        z = scheduler.step(outputs[0] + 2.0 * (outputs[1] - outputs[0]), t, z).prev_sample
    assert (backbone.denoise(Start(latents, ("owl", "1")), 3, 2.0) - z).abs().max() <= 1e-4
    with pytest.raises(UserError, match=r"prompt: 'bat' is no class of this model; .* one of cat, dog, owl"):
        backbone.condition(["bat"])


# Schedules and samplers of models that predict eps or v.


@torch.no_grad()
@pytest.mark.parametrize(
    "scheduler",
    [
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"timestep_spacing": "trailing"},
        {"timestep_spacing": "linspace"},
        {"set_alpha_to_one": True},
        {"prediction_type": "sample"},
    ],
)
@pytest.mark.parametrize("steps", [3, 7])
def test_schedules_are_the_checkpoints(
    model_folder: Path, tmp_path: Path, scheduler: dict[str, Any], steps: int
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    set_scheduler(folder, **scheduler)
    backbone = StableDiffusion(str(folder))
    pipe = load(StableDiffusionPipeline, folder, safety_checker=None, requires_safety_checker=False)
    pipe.to(dtype=torch.float32)
    latents = noise(backbone)
    theirs = pipe(
        list(PROMPTS), latents=latents.clone(), num_inference_steps=steps, guidance_scale=2.0, **SETTINGS
    ).images
    assert (images(backbone, Start(latents, PROMPTS), steps, 2.0) - theirs).abs().max() <= 1e-4


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_dpm_solver_is_diffusers_own(model_folder: Path, tmp_path: Path, prediction: str) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    set_scheduler(folder, prediction_type=prediction)
    backbone = StableDiffusion(str(folder))
    pipe = load(StableDiffusionPipeline, folder, safety_checker=None, requires_safety_checker=False)
    pipe.to(dtype=torch.float32)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, algorithm_type="dpmsolver++")
    latents = noise(backbone)
    theirs = pipe(list(PROMPTS), latents=latents.clone(), num_inference_steps=6, guidance_scale=3.0, **SETTINGS).images
    ours = images(backbone, Start(latents, PROMPTS), 6, 3.0, Sampler("dpm++"))
    assert (ours - theirs).abs().max() <= 1e-4
    assert (ours - images(backbone, Start(latents, PROMPTS), 6, 3.0)).abs().max() > 1e-3


@torch.no_grad()
def test_fresh_noise_depends_on_the_seed_alone(model_folder: Path) -> None:
    backbone = StableDiffusion(str(model_folder))
    latents = noise(backbone, 3)
    starts = [Start(latents[n : n + 1], ("a cat",), seeds=(10 + n,)) for n in range(3)]
    together = backbone.denoise(stack(starts), 4, 2.0, Sampler(eta=0.7))
    alone = torch.cat([backbone.denoise(start, 4, 2.0, Sampler(eta=0.7)) for start in starts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    other = backbone.denoise(Start(latents[:1], ("a cat",), seeds=(11,)), 4, 2.0, Sampler(eta=0.7))
    assert (other - alone[:1]).abs().max() > 0.1
    with pytest.raises(ValueError, match=r"eta > 0 needs a seed per latent"):
        backbone.denoise(Start(latents, ("a cat",) * 3), 4, 2.0, Sampler(eta=0.7))


@torch.no_grad()
def test_guidance_acts_within_its_interval_only(model_folder: Path) -> None:
    backbone = StableDiffusion(str(model_folder))
    start = Start(noise(backbone), PROMPTS)

    def run(guidance: float, low: float, high: float) -> tuple[Tensor, int]:
        before = backbone.evaluations
        z = backbone.denoise(start, 5, guidance, Sampler(guidance_interval=(low, high)))
        return z, backbone.evaluations - before

    plain, few = run(1.0, 0.0, 1.0)
    nowhere, none = run(7.5, 0.95, 1.0)  # the noisiest of 5 steps stands at 0.801
    everywhere, all_ = run(7.5, 0.0, 1.0)
    middle, some = run(7.5, 0.3, 0.7)  # 0.401 and 0.601
    assert torch.equal(nowhere, plain)
    assert [few, none, some, all_] == [10, 10, 14, 20]
    assert (middle - plain).abs().max() > 1e-3 and (middle - everywhere).abs().max() > 1e-3


# Through the command.


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("StableDiffusion3", ("--model.inversion.kind", "midpoint", "--model.sampler.kind", "midpoint")),
        ("StableDiffusionXL", ("--model.inversion.kind", "negative-prompt", "--model.inversion.guidance", "5")),
        ("PixelDiffusion", ("--model.inversion.kind", "ddim", "--model.sampler.kind", "dpm++")),
    ],
)
def test_every_family_makes_a_dataset(
    family: str,
    options: tuple[str, ...],
    sd3_folder: Path,
    sdxl_folder: Path,
    pixel_folder: Path,
    train_folder: Path,
    tmp_path: Path,
) -> None:
    folders = {"StableDiffusion3": sd3_folder, "StableDiffusionXL": sdxl_folder, "PixelDiffusion": pixel_folder}
    job = Job(folders[family], train_folder)
    done = job.synthesize(
        tmp_path / "out", "--model.backbone", family, "--model.backbone.model", str(job.model), *options
    )
    samples = [sample for shard in sorted(done.glob("*.tar")) for sample in read_shard(shard)]
    assert len(samples) == 12
    assert {image.size for _, image, _ in samples} == {(SIDE, SIDE)}
    assert len({image.tobytes() for _, image, _ in samples}) == 12


# Mistakes.


@pytest.mark.parametrize(
    ("family", "kind", "known"),
    [
        (StableDiffusion, "euler", "ddim, fixed-point, null-text, negative-prompt"),
        (StableDiffusion3, "ddim", "euler, fixed-point, midpoint, negative-prompt"),
        (PixelDiffusion, "null-text", "ddim, fixed-point"),
    ],
)
def test_inversions_that_a_family_cannot_do(
    family: Any, kind: Any, known: str, model_folder: Path, sd3_folder: Path, pixel_folder: Path
) -> None:
    folders = {StableDiffusion: model_folder, StableDiffusion3: sd3_folder, PixelDiffusion: pixel_folder}
    backbone = family(str(folders[family]))
    with pytest.raises(UserError, match=rf"inversion\.kind: {family.__name__} cannot do '{kind}'; choose from {known}"):
        backbone.invert(torch.zeros(1, *backbone.latent_shape), ("x",), 2, 1.0, kind)


def test_samplers_that_a_family_cannot_do(sd3_folder: Path, model_folder: Path) -> None:
    flow, diffusion = StableDiffusion3(str(sd3_folder)), StableDiffusion(str(model_folder))
    with pytest.raises(UserError, match=r"StableDiffusion3 cannot do 'dpm\+\+'; choose from first-order, midpoint"):
        flow.denoise(Start(noise(flow), PROMPTS), 2, 1.0, Sampler("dpm++"))
    with pytest.raises(UserError, match=r"sampler\.eta: 0\.5 needs DDIM"):
        flow.check_sampler(Sampler(eta=0.5))
    with pytest.raises(UserError, match=r"StableDiffusion cannot do 'midpoint'"):
        diffusion.check_sampler(Sampler("midpoint"))
    with pytest.raises(UserError, match=r"steps: 1001 is more than the 1000 of the model's schedule; lower it"):
        diffusion.schedule(1001)


def test_pixel_models_refuse_guidance(pixel_folder: Path) -> None:
    backbone = PixelDiffusion(str(pixel_folder))
    with pytest.raises(UserError, match=r"guidance: this pixel model has no unconditional branch; use `guidance` 1$"):
        backbone.denoise(Start(noise(backbone), PROMPTS), 2, 2.0)


def test_another_family_is_named(sdxl_folder: Path, model_folder: Path, pixel_folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds a StableDiffusionXLPipeline; run it with .* StableDiffusionXL$"):
        StableDiffusion(str(sdxl_folder))
    with pytest.raises(UserError, match=r"holds a StableDiffusionPipeline; run it with .* StableDiffusion$"):
        StableDiffusion3(str(model_folder))
    with pytest.raises(UserError, match=r"holds a DDPMPipeline; run it with .* PixelDiffusion$"):
        StableDiffusionXL(str(pixel_folder))


def test_an_unsupported_architecture_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    with pytest.raises(UserError, match=r"holds a KandinskyPipeline, which is not supported; supported are Stable"):
        StableDiffusion(str(tmp_path))


@pytest.mark.parametrize("family", [StableDiffusionXL, StableDiffusion3, PixelDiffusion])
@pytest.mark.usefixtures("no_network")
def test_no_network(family: Any) -> None:
    expected = "no network, and 'nobody/nothing' is not on this machine; run `hf download nobody/nothing` once"
    with pytest.raises(UserError, match=expected) as error:
        family("nobody/nothing")
    assert "\n" not in str(error.value)


def test_sd3_resolution_must_fit_the_patches(sd3_folder: Path) -> None:
    with pytest.raises(UserError, match=r"backbone\.resolution: 18 is not a multiple of 4; choose"):
        StableDiffusion3(str(sd3_folder), resolution=18)


def test_leaving_t5_out_is_part_of_the_identity(tmp_path: Path) -> None:
    folder = save_sd3(tmp_path / "sd3", t5=True)
    names = {StableDiffusion3(str(folder), t5=t5, prompt_tokens=n).identity for t5, n in ((1, 256), (0, 256), (1, 77))}
    assert len(names) == 3


@pytest.mark.parametrize("family", ["StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "PixelDiffusion"])
def test_families_are_known_by_their_short_names(family: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["synthesize", "--output", "x", "--model.backbone", family, "--print_config"])
    assert f".{family}\n" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "value"), [("eta", "1.5"), ("guidance_interval", "[0.2, 3]"), ("kind", "ddpm")])
def test_samplers_that_do_not_exist_fail_at_parse_time(
    job: Any, tmp_path: Path, fails: Any, option: str, value: str
) -> None:
    error = fails(main, ["synthesize", *job.args(tmp_path / "out", f"--model.sampler.{option}", value)], 2)
    assert option in error and "Traceback" not in error


# Inversion against diffusers' inverse scheduler, family by family.


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_inversion_is_diffusers_inverse_scheduler(
    model_folder: Path, tmp_path: Path, prediction: str, spacing: str
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    set_scheduler(folder, prediction_type=prediction, timestep_spacing=spacing)
    backbone = StableDiffusion(str(folder))
    scheduler = DDIMInverseScheduler.from_config(backbone.scheduler_config)
    scheduler.set_timesteps(8)
    z = clean = noise(backbone, seed=1)
    embeddings = backbone.condition(PROMPTS).embeddings
    for t in scheduler.timesteps:
        z = scheduler.step(backbone.unet(z, t, encoder_hidden_states=embeddings).sample, t, z).prev_sample
    assert (backbone.invert(clean, PROMPTS, 8, 1.0).latent - z).abs().max() <= 1e-4


@torch.no_grad()
def test_ddim_inversion_of_sdxl_and_of_pixels(sdxl_folder: Path, tmp_path: Path) -> None:
    pixel = PixelDiffusion(str(save_pixel(tmp_path / "pixel", clip_sample=False)))
    for backbone in (StableDiffusionXL(str(sdxl_folder)), pixel):
        scheduler = DDIMInverseScheduler.from_config(backbone.scheduler_config, clip_sample=False)
        scheduler.set_timesteps(5)
        z = clean = noise(backbone, seed=1)
        condition = backbone.condition(PROMPTS)
        for t in scheduler.timesteps:
            z = scheduler.step(backbone.predict(z, float(t), condition), t, z).prev_sample
        assert (backbone.invert(clean, PROMPTS, 5, 1.0).latent - z).abs().max() <= 1e-4
