"""Noise that is added to an image in place of an inversion's first steps, and several latents of one image."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job, sha256s
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file
from tiny_families import save_pixel, save_sd3, save_sdxl
from torch import Tensor

from augment.backbones.base import Backbone
from augment.backbones.inversions import Forward
from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.stable_diffusion_3 import StableDiffusion3
from augment.backbones.stable_diffusion_xl import StableDiffusionXL
from augment.dataset.reader import read_shard
from augment.errors import UserError
from augment.images.few_shot import FewShotSet, choose_few_shot_set
from augment.images.sources import ImageFolder
from augment.inversion.bank import LatentKey
from augment.inversion.draws import image_noise
from augment.inversion.fill import invert
from augment.inversion.inversion import Inversion, go_back, invert_latents

PROMPTS = ("a photo of a cat", "a dog")
STEPS = 5
FAMILIES = ("sd", "sdxl", "sd3", "pixel")


@pytest.fixture(scope="module")
def backbones(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backbone]:
    folder = tmp_path_factory.mktemp("families")
    return {
        "sd": StableDiffusion(str(model_folder)),
        "sdxl": StableDiffusionXL(str(save_sdxl(folder / "sdxl"))),
        "sd3": StableDiffusion3(str(save_sd3(folder / "sd3"))),
        "pixel": PixelDiffusion(str(save_pixel(folder / "pixel", clip_sample=False))),
    }


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noised_by_diffusers(backbone: Backbone, clean: Tensor, noise: Tensor, level: int) -> Tensor:
    """The oracle: the latent at the `level`-th of the schedule's noise levels, counted from the cleanest."""
    if isinstance(backbone, StableDiffusion3):
        flow = FlowMatchEulerDiscreteScheduler.from_config(backbone.scheduler_config)
        flow.set_timesteps(STEPS)
        return flow.scale_noise(clean, flow.timesteps[-level].repeat(len(clean)), noise)
    ddim = DDIMScheduler.from_config(backbone.scheduler_config)
    ddim.set_timesteps(STEPS)
    return ddim.add_noise(clean, noise, ddim.timesteps[-level].repeat(len(clean)))


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_all_steps_are_the_forward_process_of_diffusers(backbones: dict[str, Backbone], family: str) -> None:
    backbone = backbones[family]
    clean, noise = (normal(2, *backbone.latent_shape, seed=seed) for seed in (1, 2))
    for kind in (kind for kind in backbone.inversions if kind != "null-text"):
        found = backbone.invert(clean, PROMPTS, STEPS, 1.0, kind, forward=Forward(STEPS, noise)).latent
        assert (found - noised_by_diffusers(backbone, clean, noise, STEPS)).abs().max() <= 1e-5
    assert backbone.evaluations == 0


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", [1, 3])
def test_the_walk_begins_at_the_level_of_diffusers(
    backbones: dict[str, Backbone], monkeypatch: pytest.MonkeyPatch, family: str, level: int
) -> None:
    backbone = backbones[family]
    clean, noise = (normal(2, *backbone.latent_shape, seed=seed) for seed in (1, 2))
    seen: list[Tensor] = []

    def predict(z: Tensor, time: float, condition: Any) -> Tensor:
        seen.append(z)
        return torch.zeros_like(z)

    monkeypatch.setattr(backbone, "predict", predict)
    for kind in (kind for kind in backbone.inversions if kind in ("ddim", "euler", "midpoint")):
        seen.clear()
        backbone.invert(clean, PROMPTS, STEPS, 1.0, kind, forward=Forward(level, noise))
        assert (seen[0] - noised_by_diffusers(backbone, clean, noise, level)).abs().max() <= 1e-5
        assert len(seen) == (STEPS - level) * (2 if kind == "midpoint" else 1)


@torch.no_grad()
def test_null_text_leads_back_along_the_added_noise(backbones: dict[str, Backbone]) -> None:
    backbone = backbones["sd"]
    clean, noise = (normal(1, *backbone.latent_shape, seed=seed) for seed in (1, 2))
    errors = []
    for iterations in (1, 20):
        how = Inversion("null-text", 4, 3.0, 1e-9, iterations, forward_steps=2)
        found = invert_latents(backbone, clean, PROMPTS[:1], how, noise)
        assert found.unconditional is not None and found.unconditional.shape[1] == 4
        errors.append(float((go_back(backbone, found, PROMPTS[:1], how) - clean).norm()))
    assert errors[1] < errors[0]


def test_without_added_noise_nothing_changes(backbones: dict[str, Backbone]) -> None:
    """Banks and datasets that exist keep their names: these values were written down before there was any noise."""
    key = LatentKey("ab12", "tiny@1", "a cat", "ddim", 50, 1.0, 32, "fp32")
    assert key.digest == "5608c50267ed976252e82839a1357201"
    assert Inversion().describe() == {
        "kind": "ddim",
        "steps": 50,
        "guidance": 1.0,
        "tolerance": 1e-5,
        "iterations": 10,
        "precision": "fp32",
        "batch_size": 16,
    }
    assert Inversion(forward_steps=3, draws=2).describe()["draws"] == 2
    backbone = backbones["sd"]
    clean = normal(1, *backbone.latent_shape)
    with torch.no_grad():
        with_noise = invert_latents(backbone, clean, PROMPTS[:1], Inversion(steps=3), torch.ones_like(clean))
        assert torch.equal(with_noise.latent, backbone.invert(clean, PROMPTS[:1], 3, 1.0).latent)


def test_noise_is_an_images_own() -> None:
    first = image_noise("ab12", 0, (4, 64, 64))
    assert torch.equal(first, image_noise("ab12", 0, (4, 64, 64)))
    assert abs(float(first.mean())) < 0.03 and abs(float(first.std()) - 1) < 0.03
    for other in (image_noise("ab12", 1, (4, 64, 64)), image_noise("ab13", 0, (4, 64, 64))):
        assert abs(float((first * other).mean())) < 0.04


def test_what_makes_no_sense_is_refused(backbones: dict[str, Backbone]) -> None:
    with pytest.raises(
        UserError, match=r"inversion\.forward_steps: 6 is more than the 5 steps of the inversion; lower"
    ):
        Inversion(steps=5, forward_steps=6)
    with pytest.raises(UserError, match=r"inversion\.draws: without noise all 3 latents .* give `inversion\.forward_"):
        Inversion(draws=3)
    with pytest.raises(ValueError, match="forward_steps needs noise for each latent"):
        invert_latents(backbones["sd"], torch.zeros(1, 4, 8, 8), PROMPTS[:1], Inversion(forward_steps=1))


def latents_in(backbone: Backbone, folder: Path, shots: FewShotSet, bank: Path, how: Inversion) -> dict[str, Tensor]:
    """Every latent of a few-shot set, by its image and draw."""
    prompts = dict.fromkeys(shots.labels, "a photo")
    made = invert(backbone, ImageFolder(folder), shots, prompts, bank, how, show_progress=False)
    pairs = [
        (shot, key) for label in shots.labels for shot, key in zip(made.shots[label], made.keys[label], strict=True)
    ]
    latents = torch.cat([made.latents(label) for label in shots.labels])
    return {f"{shot.name} {key.draw}": latent for (shot, key), latent in zip(pairs, latents, strict=True)}


def test_draws_differ_and_depend_on_the_image_alone(
    backbones: dict[str, Backbone], train_folder: Path, tmp_path: Path
) -> None:
    shots = choose_few_shot_set(ImageFolder(train_folder), 2, 0)
    how = Inversion(steps=3, forward_steps=2, draws=2, batch_size=5, warn_psnr=0)
    whole = latents_in(backbones["sd"], train_folder, shots, tmp_path / "a", how)
    assert len(whole) == 3 * 2 * 2
    for name, latent in whole.items():
        if name.endswith(" 0"):
            assert float((latent - whole[name[:-1] + "1"]).abs().mean()) > 0.1
    fewer = FewShotSet(shots.classes, tuple(members[-1:] for members in shots.shots))
    part = latents_in(backbones["sd"], train_folder, fewer, tmp_path / "b", how)
    assert len(part) == 6
    for name, latent in part.items():
        assert (latent - whole[name]).abs().max() <= 1e-5  # another batch rounds otherwise


def test_one_shot_in_several_draws_is_mixed(job: Job, tmp_path: Path) -> None:
    noisier = ("--shots", "1", "--model.inversion.forward_steps", "1", "--model.inversion.draws", "3")
    made = job.synthesize(tmp_path / "made", *noisier)
    records = [record for shard in sorted(made.glob("*.tar")) for _, _, record in read_shard(shard)]
    assert all(len(set(record["sources"])) == 1 and sorted(record["draws"]) == [0, 1, 2] for record in records)
    assert len({tuple(record["weights"]) for record in records}) == len(records)
    again = job.synthesize(tmp_path / "elsewhere" / "made", *noisier)
    assert sha256s(made) == sha256s(again)
    latents = [load_file(path)["latent"] for path in (tmp_path / "bank").rglob("*.safetensors")]
    assert len(latents) == 3 * 3
    config = json.loads((made / "dataset.json").read_text())["config"]
    assert (config["inversion"]["forward_steps"], config["inversion"]["draws"]) == (1, 3)


def test_more_sources_than_draws_are_refused(job: Job, tmp_path: Path, fails: Any) -> None:
    from augment.cli import main

    noisier = ("--shots", "1", "--model.inversion.forward_steps", "1", "--model.inversion.draws", "3")
    said = fails(main, ["synthesize", *job.args(tmp_path / "out", *noisier, "--data.mixing.sources", "4")], 1)
    assert "4 is greater than the 3 latents of class" in said
