import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import SIDE
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from augment.backbones.checkpoint import hash_folder
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.start import Start
from augment.errors import UserError

PROMPTS = ("a photo of a cat", "a dog")


@pytest.fixture(scope="module")
def backbone(model_folder: Path) -> StableDiffusion:
    return StableDiffusion(model=str(model_folder))


@pytest.fixture(scope="module")
def pipeline(model_folder: Path) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(
        model_folder, safety_checker=None, requires_safety_checker=False, torch_dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def noise(backbone: StableDiffusion, count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, *backbone.latent_shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_shapes_and_types(backbone: StableDiffusion) -> None:
    images = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    assert backbone.image_size == SIDE
    assert backbone.latent_shape == (4, SIDE // 2, SIDE // 2)
    latents = backbone.encode(images)
    assert (latents.shape, latents.dtype) == ((2, *backbone.latent_shape), torch.float32)
    decoded = backbone.decode(100 * latents)
    assert (decoded.shape, decoded.dtype) == (images.shape, torch.float32)
    assert decoded.min() >= -1 and decoded.max() <= 1


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("steps", [1, 5])
def test_images_are_those_of_diffusers_own_pipeline(
    backbone: StableDiffusion, pipeline: StableDiffusionPipeline, guidance: float, steps: int
) -> None:
    latents = noise(backbone)
    ours = backbone.decode(backbone.denoise(Start(latents, PROMPTS), steps, guidance))
    theirs = pipeline(
        prompt=list(PROMPTS),
        latents=latents.clone(),
        num_inference_steps=steps,
        guidance_scale=guidance,
        height=SIDE,
        width=SIDE,
        output_type="pt",
    ).images
    assert (ours / 2 + 0.5 - theirs).abs().max() <= 1e-4
    assert theirs.std() > 0.01  # a flat image would equal anything's


@torch.no_grad()
def test_guidance_and_prompt_matter(backbone: StableDiffusion) -> None:
    """What the comparison with diffusers would not see if the tiny network ignored its prompt."""
    latents = noise(backbone, 1)
    results = [
        backbone.denoise(Start(latents, (prompt,)), 3, guidance)
        for prompt, guidance in (("a cat", 1.0), ("a dog", 1.0), ("a cat", 7.5))
    ]
    assert (results[0] - results[1]).abs().max() > 1e-4
    assert (results[0] - results[2]).abs().max() > 1e-4


@torch.no_grad()
def test_inversion_is_a_plain_loop_with_the_inverse_scheduler(
    backbone: StableDiffusion, pipeline: StableDiffusionPipeline
) -> None:
    clean = noise(backbone, seed=1)
    scheduler = DDIMInverseScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(6)
    embeddings, _ = pipeline.encode_prompt(list(PROMPTS), "cpu", 1, do_classifier_free_guidance=False)
    z = clean
    for t in scheduler.timesteps:
        z = scheduler.step(pipeline.unet(z, t, encoder_hidden_states=embeddings).sample, t, z).prev_sample
    ours = backbone.invert(clean, PROMPTS, 6, guidance=1.0).latent
    assert (ours - z).abs().max() <= 1e-5
    assert (ours - clean).abs().max() > 0.1


@torch.no_grad()
def test_inversion_of_a_network_of_zeros_comes_back(model_folder: Path) -> None:
    """With eps = 0 both directions only rescale, so the round trip is exact but for the first step's own place."""
    backbone = StableDiffusion(model=str(model_folder))
    backbone.unet.conv_out.weight.zero_()
    backbone.unet.conv_out.bias.zero_()
    clean = noise(backbone, seed=2)
    inverted = backbone.invert(clean, PROMPTS, 10, guidance=1.0).latent
    back = backbone.denoise(Start(inverted, PROMPTS), 10, guidance=1.0)
    ratio = back / clean
    assert ratio.std() < 1e-5
    assert ratio.mean() == pytest.approx(1, abs=0.1)
    assert (inverted / clean).mean() < 0.5


@torch.no_grad()
def test_more_steps_bring_the_round_trip_closer(model_folder: Path) -> None:
    backbone = StableDiffusion(model=str(model_folder))
    backbone.unet.conv_out.weight.mul_(0.3)  # an untrained network is rougher in t than a trained one
    clean = noise(backbone, seed=3)
    errors = []
    for steps in (5, 100):
        inverted = backbone.invert(clean, PROMPTS, steps, guidance=1.0).latent
        back = backbone.denoise(Start(inverted, PROMPTS), steps, guidance=1.0)
        errors.append(float((back - clean).norm() / clean.norm()))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.15


@torch.no_grad()
def test_a_batch_is_its_images(backbone: StableDiffusion) -> None:
    latents = noise(backbone)
    together = backbone.denoise(Start(latents, PROMPTS), 3, 2.0)
    alone = [backbone.denoise(Start(latents[n : n + 1], (PROMPTS[n],)), 3, 2.0) for n in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_strength_runs_the_end_of_the_schedule(backbone: StableDiffusion, pipeline: StableDiffusionPipeline) -> None:
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(10)
    embeddings, _ = pipeline.encode_prompt(list(PROMPTS), "cpu", 1, do_classifier_free_guidance=False)
    z = latents = noise(backbone)
    for t in scheduler.timesteps[6:]:
        z = scheduler.step(pipeline.unet(z, t, encoder_hidden_states=embeddings).sample, t, z).prev_sample
    ours = backbone.denoise(Start(latents, PROMPTS, strength=0.4), 10, 1.0)
    assert (ours - z).abs().max() <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_both_kinds_of_prediction_are_the_schedulers_business(
    model_folder: Path, tmp_path: Path, prediction: str
) -> None:
    """SD 2.x predicts v; the same folder with another scheduler config must follow diffusers there too."""
    folder = shutil.copytree(model_folder, tmp_path / "model")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": prediction}))
    backbone = StableDiffusion(model=str(folder))
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipe.to(dtype=torch.float32).set_progress_bar_config(disable=True)
    latents = noise(backbone)
    theirs = pipe(
        prompt=list(PROMPTS),
        latents=latents.clone(),
        num_inference_steps=4,
        guidance_scale=3.0,
        height=SIDE,
        width=SIDE,
        output_type="latent",
    ).images
    assert (backbone.denoise(Start(latents, PROMPTS), 4, 3.0) - theirs).abs().max() <= 1e-4


@torch.no_grad()
def test_latents_stay_float32_when_the_networks_do_not(model_folder: Path) -> None:
    backbone = StableDiffusion(model=str(model_folder))
    latents = noise(backbone)
    full = backbone.denoise(Start(latents, PROMPTS), 3, 2.0)
    backbone.cast("bf16")
    assert {p.dtype for p in backbone.unet.parameters()} == {torch.bfloat16}
    half = backbone.denoise(Start(latents, PROMPTS), 3, 2.0)
    assert half.dtype == backbone.encode(torch.zeros(1, 3, SIDE, SIDE)).dtype == torch.float32
    assert backbone.decode(half).dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 0.1 * full.abs().mean()
    backbone.cast("fp32")
    assert {p.dtype for p in backbone.unet.parameters()} == {torch.float32}
    assert torch.equal(backbone.denoise(Start(latents, PROMPTS), 3, 2.0), full)  # nothing stays rounded


@torch.no_grad()
def test_prompts_are_conditioned_in_order(backbone: StableDiffusion, pipeline: StableDiffusionPipeline) -> None:
    embeddings = backbone.condition([PROMPTS[1], "", PROMPTS[0], PROMPTS[1]]).embeddings
    expected, _ = pipeline.encode_prompt([PROMPTS[1], "", PROMPTS[0]], "cpu", 1, do_classifier_free_guidance=False)
    torch.testing.assert_close(embeddings[:3], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(embeddings[0], embeddings[3])


def test_nothing_is_trained(backbone: StableDiffusion) -> None:
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.networks)


def test_identity_is_the_weights_not_the_place(model_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model_folder, tmp_path / model_folder.name)
    original = StableDiffusion(model=str(model_folder)).identity
    assert StableDiffusion(model=str(copy)).identity == original
    (copy / "README.md").write_text("A model card decides nothing.")
    assert StableDiffusion(model=str(copy)).identity == original
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_end": 0.013}))
    assert StableDiffusion(model=str(copy)).identity != original


def test_hash_tells_names_from_contents(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        folder = tmp_path / name / ("same" if name == "a" else "other")
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(content)
    assert len({hash_folder(tmp_path / name) for name in "abc"}) == 3


def test_resolution_may_be_chosen(model_folder: Path) -> None:
    assert StableDiffusion(model=str(model_folder), resolution=32).latent_shape == (4, 16, 16)


@pytest.mark.parametrize("resolution", [18, 15])
def test_resolution_must_fit_the_networks(model_folder: Path, resolution: int) -> None:
    with pytest.raises(UserError, match=rf"backbone\.resolution: {resolution} is not a multiple of 4; choose"):
        StableDiffusion(model=str(model_folder), resolution=resolution)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "nobody/nothing-of-this-name",
            "no network, and 'nobody/nothing-of-this-name' is not on this machine; run",
        ),
        ("no-such-folder", "no network, and 'no-such-folder' is not on this machine"),
        ("./no/such/folder", r"there is no folder '\./no/such/folder'; check the path"),
        ("no/such/folder", "there is no folder 'no/such/folder'; check the path"),
    ],
)
def test_a_checkpoint_that_is_nowhere(name: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"backbone\.model: {said}") as error:
        StableDiffusion(model=name)
    assert "\n" not in str(error.value)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no model_index\.json; give a folder in diffusers' format") as error:
        StableDiffusion(model=str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_folder_without_safetensors_is_refused(model_folder: Path, tmp_path: Path) -> None:
    """Pickled weights are never read, even where they are all there is."""
    folder = shutil.copytree(model_folder, tmp_path / "model")
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with pytest.raises(
        UserError, match=r"has no safetensors weights, and pickled ones are never read; convert"
    ) as error:
        StableDiffusion(model=str(folder))
    assert "\n" not in str(error.value)


def test_broken_weights_are_the_users_matter(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"backbone\.model: '.*model' ") as error:
        StableDiffusion(model=str(folder))
    assert "\n" not in str(error.value)
