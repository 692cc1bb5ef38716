"""Today's flow families against diffusers' own pipelines, and by inversion and back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Flux2KleinPipeline, PRXPipeline, ZImagePipeline
from tiny_families import SIDE
from tiny_flows import save_flux2, save_prx, save_z_image
from torch import Tensor

from augment.backbones.base import Backbone
from augment.backbones.flux2_klein import Flux2Klein
from augment.backbones.prx import PRX
from augment.backbones.start import Sampler, Start
from augment.backbones.z_image import ZImage
from augment.errors import UserError

PROMPTS = ("a photo of a cat", "a dog")
TOKENS = 48
SETTINGS = {"height": SIDE, "width": SIDE, "output_type": "pt", "num_inference_steps": 4}


def load(pipeline: Any, folder: Path) -> Any:
    pipe = pipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def noise(backbone: Backbone, seed: int = 0) -> Tensor:
    return torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(seed))


def images(backbone: Backbone, start: Start, steps: int, guidance: float) -> Tensor:
    return backbone.decode(backbone.denoise(start, steps, guidance)) / 2 + 0.5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "PRX": save_prx(root / "prx"),
        "Flux2Klein": save_flux2(root / "flux2"),
        "ZImage": save_z_image(root / "z-image"),
    }


def open_family(name: str, folders: dict[str, Path]) -> Backbone:
    folder = str(folders[name])
    if name == "PRX":
        return PRX(folder)
    family = Flux2Klein if name == "Flux2Klein" else ZImage
    return family(folder, resolution=SIDE, prompt_tokens=TOKENS)


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_prx_makes_the_images_of_its_pipeline(folders: dict[str, Path], guidance: float) -> None:
    backbone, pipe = open_family("PRX", folders), load(PRXPipeline, folders["PRX"])
    latents = noise(backbone)
    settings = SETTINGS | {"guidance_scale": guidance, "use_resolution_binning": False}
    rows = zip(PROMPTS, latents.split(1), strict=True)  # under guidance the pipeline can do one prompt at a time
    theirs = torch.cat([pipe(prompt, latents=row.clone(), **settings).images for prompt, row in rows])
    assert (images(backbone, Start(latents, PROMPTS), 4, guidance) - theirs).abs().max() <= 1e-4
    assert theirs.std() > 0.01  # a flat image would equal anything's


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_flux2_makes_the_images_of_its_pipeline(folders: dict[str, Path], guidance: float) -> None:
    backbone, pipe = open_family("Flux2Klein", folders), load(Flux2KleinPipeline, folders["Flux2Klein"])
    latents = noise(backbone)
    patches = pipe._patchify_latents(latents)
    theirs = pipe(
        prompt=list(PROMPTS),
        latents=patches,
        guidance_scale=guidance,
        max_sequence_length=TOKENS,
        **SETTINGS,
    ).images
    assert (images(backbone, Start(latents, PROMPTS), 4, guidance) - theirs).abs().max() <= 1e-4
    assert theirs.std() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("scheduler", [{}, {"use_dynamic_shifting": True}])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_z_image_makes_the_images_of_its_pipeline(tmp_path: Path, guidance: float, scheduler: dict[str, Any]) -> None:
    folder = save_z_image(tmp_path / "z-image", **scheduler)
    backbone, pipe = open_family("ZImage", {"ZImage": folder}), load(ZImagePipeline, folder)
    latents = noise(backbone)
    theirs = pipe(
        list(PROMPTS),
        latents=latents.clone(),
        guidance_scale=guidance - 1,  # counted from the conditional side: 0 is without
        max_sequence_length=TOKENS,
        **SETTINGS,
    ).images
    assert (images(backbone, Start(latents, PROMPTS), 4, guidance) - theirs).abs().max() <= 1e-4
    assert theirs.std() > 0.01


FAMILIES = ("PRX", "Flux2Klein", "ZImage")


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_prompt_and_the_time_reach_the_network(folders: dict[str, Path], family: str, guidance: float) -> None:
    backbone = open_family(family, folders)
    latents = noise(backbone)
    ours = backbone.denoise(Start(latents, PROMPTS), 3, guidance)
    other = backbone.denoise(Start(latents, ("the sea", "a dog")), 3, guidance)
    assert (ours[0] - other[0]).abs().max() > 1e-3
    torch.testing.assert_close(ours[1], other[1], atol=1e-5, rtol=1e-5)  # whatever the other rows are told
    condition = backbone.condition(PROMPTS)
    early, late = (backbone.predict(latents, time, condition) for time in (900.0, 100.0))
    assert (early - late).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_fixed_point_inversion_leads_back(folders: dict[str, Path], family: str, guidance: float) -> None:
    backbone = open_family(family, folders)
    clean = noise(backbone, seed=1)
    inverted = backbone.invert(clean, PROMPTS, 20, guidance, "fixed-point", 1e-5, 40)
    back = backbone.denoise(Start(inverted.latent, PROMPTS), 20, guidance)
    assert inverted.residual.max() <= 1e-5
    torch.testing.assert_close(back, clean, atol=1e-3, rtol=1e-3)
    assert (inverted.latent - clean).abs().max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_explicit_inversions_lead_back_the_better_the_more_steps(folders: dict[str, Path], family: str) -> None:
    backbone = open_family(family, folders)
    clean = noise(backbone, seed=1)

    def miss(kind: Any, sampler: Sampler, steps: int) -> float:
        inverted = backbone.invert(clean, PROMPTS, steps, 1.0, kind)
        return float((backbone.denoise(Start(inverted.latent, PROMPTS), steps, 1.0, sampler) - clean).abs().mean())

    coarse, fine = (miss("euler", Sampler(), steps) for steps in (8, 32))
    assert fine < 0.6 * coarse
    assert miss("midpoint", Sampler("midpoint"), 32) < fine


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_encoded_as_the_denoiser_has_them(folders: dict[str, Path], family: str) -> None:
    backbone = open_family(family, folders)
    pixels = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) * 2 - 1
    clean = backbone.encode(pixels)
    vae = backbone.vae
    mode = vae.encode(pixels).latent_dist.mode()
    assert clean.shape == (2, *backbone.latent_shape) == mode.shape
    torch.testing.assert_close(backbone.decode(clean), vae.decode(mode).sample.clamp(-1, 1), atol=1e-5, rtol=1e-5)
    assert (clean - mode).abs().max() > 0.01


@torch.no_grad()
def test_flux2_latents_are_its_pipelines_before_the_cut(folders: dict[str, Path]) -> None:
    backbone, pipe = open_family("Flux2Klein", folders), load(Flux2KleinPipeline, folders["Flux2Klein"])
    pixels = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) * 2 - 1
    theirs = pipe._encode_vae_image(pixels, torch.Generator())  # [1, 4 C, h / 2, w / 2]
    ours = backbone.encode(pixels)
    torch.testing.assert_close(ours, pipe._unpatchify_latents(theirs))
    means = theirs.mean(dim=(2, 3)).unflatten(1, (-1, 4)).mean(dim=2)  # of the four places of a patch
    torch.testing.assert_close(ours.mean(dim=(2, 3)), means)


# Mistakes.


@pytest.mark.parametrize(
    ("family", "name", "instead"),
    [
        (ZImage, "Tongyi-MAI/Z-Image-Turbo", "Tongyi-MAI/Z-Image"),
        (PRX, "Photoroom/prx-512-t2i-sft-distilled", "Photoroom/prx-512-t2i-sft"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_a_distilled_checkpoint_is_refused_by_name_before_it_is_fetched(family: Any, name: str, instead: str) -> None:
    word = name.rsplit("-", 1)[1].lower()
    expected = f"'{name}' is distilled (its name says '{word}'), and a few large steps cannot be inverted"
    with pytest.raises(UserError, match=re.escape(expected)) as error:
        family(name)
    assert error.value.remedy.endswith(f"such as {instead}")


def test_a_distilled_folder_is_refused_by_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its model_index\.json says `is_distilled`"):
        Flux2Klein(str(save_flux2(tmp_path / "flux2", distilled=True)))
    folder = save_z_image(tmp_path / "z-image", stochastic_sampling=True)
    with pytest.raises(UserError, match=r"its steps add noise \(`stochastic_sampling` in scheduler/"):
        ZImage(str(folder))
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"scheduler": ["diffusers", "FlowMatchLCMScheduler"]}))
    with pytest.raises(UserError, match=r"its scheduler is one for a few steps, LCM"):
        ZImage(str(folder))
    plain = save_flux2(tmp_path / "guided")
    path = plain / "transformer" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"guidance_embeds": True}))
    with pytest.raises(UserError, match=r"its network is told the guidance \(`guidance_embeds` in transformer/"):
        Flux2Klein(str(plain))


def test_prx_says_which_package_it_needs(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.backbones.prx.is_ftfy_available", lambda: False)
    with pytest.raises(UserError, match=r"PRX cleans prompts with the package 'ftfy'; install chm-augment\[prx\]"):
        PRX(str(folders["PRX"]))


@pytest.mark.parametrize("family", FAMILIES)
def test_resolutions_fit_the_patches(folders: dict[str, Path], family: str) -> None:
    classes = {"PRX": PRX, "Flux2Klein": Flux2Klein, "ZImage": ZImage}
    with pytest.raises(UserError, match=r"backbone\.resolution: 18 is not a multiple of 4; choose"):
        classes[family](str(folders[family]), resolution=18)
    with pytest.raises(UserError, match=r"cannot do 'ddim'; choose from euler, fixed-point, midpoint, negative-prompt"):
        open_family(family, folders).check_inversion("ddim")


def test_sizes_and_prompts_are_part_of_what_a_backbone_is(folders: dict[str, Path]) -> None:
    assert open_family("PRX", folders).image_size == SIDE
    assert ZImage(str(folders["ZImage"])).image_size == 1024
    assert Flux2Klein(str(folders["Flux2Klein"])).latent_shape == (4, 128, 128)  # 128 patches of 2 x 2
    lengths = {Flux2Klein(str(folders["Flux2Klein"]), prompt_tokens=n).identity for n in (512, 48, 77)}
    assert len(lengths) == 3
