"""gif and diffusemix from images to shards: made again by hand, known by their files, refused where they must be."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SIDE, make_images, paint
from diffusers import StableDiffusionInstructPix2PixPipeline
from tiny_families import save_pixel
from tiny_rivals import save_clip, save_pix2pix
from torch import Tensor

from augment.backbones.instruct_pix2pix import InstructPix2Pix
from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.start import Start
from augment.cli import main
from augment.dataset.reader import read_shard
from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.pixels import to_tensor, to_uint8
from augment.images.sources import ImageFolder
from augment.inversion.inversion import Inversion
from augment.mix.diffuse_mix import INSTRUCTIONS, halves
from augment.mix.draws import Draws
from augment.mix.fractal import fractal
from augment.mix.guided_imagination import GuidedImagination
from augment.mix.method import Originals
from augment.mix.registry import METHODS, MethodName
from augment.synthesis.pipeline import synthesize
from augment.synthesis.plan import Plan
from augment.synthesis.recipe import Recipe, make_recipe
from augment.synthesis.synthesizer import Synthesizer
from augment.tuning.tuner import Tuner

PLAN = Plan(per_class=2, shard_size=6, batch_size=3)
STEPS = 4


@pytest.fixture(scope="module")
def pix2pix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pix2pix(tmp_path_factory.mktemp("models") / "pix2pix")


@pytest.fixture(scope="module")
def editor(pix2pix: Path) -> Synthesizer:
    return Synthesizer(InstructPix2Pix(str(pix2pix)), Inversion(warn_psnr=0), steps=STEPS, guidance=4.0)


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Synthesizer:
    backbone = StableDiffusion(str(model_folder))
    return Synthesizer(backbone, Inversion(warn_psnr=0), steps=STEPS, guidance=2.0, prompt="a {class}")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_clip(tmp_path_factory.mktemp("models") / "clip"))


def recipe(model: Synthesizer, images: Path, method: MethodName, **settings: Any) -> Recipe:
    few_shot = choose_few_shot_set(ImageFolder(images), 3, 0)
    return make_recipe(model, few_shot, method, plan=PLAN, settings=settings)


def samples(folder: Path) -> Iterator[tuple[Tensor, dict[str, Any], Draws]]:
    for shard in sorted(folder.glob("*.tar")):
        for _, image, record in read_shard(shard):
            draws = Draws(0, record["label"], record["index"])
            yield torch.from_numpy(np.array(image)).permute(2, 0, 1), record, draws


def real(images: Path, record: dict[str, Any]) -> Tensor:
    source = ImageFolder(images)
    items = {item.name: item for item in source.pool}
    return to_tensor(source.image(items[record["sources"][0]]), SIDE)[None]


@torch.no_grad()
def test_diffusemix_is_diffusers_edit_beside_the_real_image(
    editor: Synthesizer, pix2pix: Path, train_folder: Path, tmp_path: Path
) -> None:
    made = recipe(editor, train_folder, "diffusemix")
    folder = synthesize(editor, ImageFolder(train_folder), made, tmp_path / "out", show_progress=False)
    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(pix2pix, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    for image, record, draws in samples(folder):
        original = real(train_folder, record)
        edited = pipe(
            INSTRUCTIONS[draws.choose(len(INSTRUCTIONS))],
            image=original,
            latents=draws.noise(editor.backbone.latent_shape)[None],
            num_inference_steps=STEPS,
            guidance_scale=4.0,
            image_guidance_scale=1.5,
            output_type="pt",
        ).images
        joined = halves(original, edited * 2 - 1, torch.tensor([draws.uniform() < 0.5]))
        expected = 0.8 * joined[0] + 0.2 * fractal(draws.pattern(), SIDE)
        assert (image.int() - to_uint8(expected).int()).abs().max() <= 1  # 1e-4 may lie across a rounding
        assert record["soft_labels"] == [record["label"]]


@torch.no_grad()
def test_gif_is_sdedit_finished_with_the_real_image(
    model: Synthesizer, clip: str, train_folder: Path, tmp_path: Path
) -> None:
    made = recipe(model, train_folder, "gif", clip=clip, strength=0.5)
    folder = synthesize(model, ImageFolder(train_folder), made, tmp_path / "out", show_progress=False)
    plain = recipe(model, train_folder, "sdedit", strength=0.5)
    unmoved = synthesize(model, ImageFolder(train_folder), plain, tmp_path / "plain", show_progress=False)
    method, backbone = GuidedImagination(clip=clip, strength=0.5), model.backbone
    for (image, record, draws), (before, _, _) in zip(samples(folder), samples(unmoved), strict=True):
        original = real(train_folder, record)
        noise = draws.noise(backbone.latent_shape)[None]
        start = Start(backbone.encode(original), (f"a {record['class']}",), strength=0.5, noise=noise)
        sampled = backbone.denoise(start, STEPS, 2.0)
        expected = method.finish(sampled, backbone.decode, Originals(original, (draws,), made.few_shot.classes))[0]
        assert (image.int() - to_uint8(expected).int()).abs().max() <= 1
        assert (image.int() - before.int()).abs().max() > 1
        assert record["strength"] == 0.5


@pytest.mark.parametrize("name", ["gif", "diffusemix"])
def test_images_that_are_finished_one_by_one_are_the_same(
    name: MethodName, model: Synthesizer, editor: Synthesizer, clip: str, train_folder: Path, tmp_path: Path
) -> None:
    """As memory may ask for: each with its own real image and its own draws."""
    carrier, settings = (model, {"clip": clip}) if name == "gif" else (editor, {})
    made = recipe(carrier, train_folder, name, **settings)
    source = ImageFolder(train_folder)
    together = list(samples(synthesize(carrier, source, made, tmp_path / "a", show_progress=False)))
    carrier.decoding.fitted = 1
    apart = list(samples(synthesize(carrier, source, made, tmp_path / "b", show_progress=False)))
    carrier.decoding.fitted = None
    for (image, *_), (other, *_) in zip(together, apart, strict=True):
        assert (image.int() - other.int()).abs().max() <= 1


# What decides an image is in its recipe.


def test_clips_weights_are_part_of_a_recipe_and_its_place_is_not(
    model: Synthesizer, clip: str, train_folder: Path, tmp_path: Path
) -> None:
    first = recipe(model, train_folder, "gif", clip=clip)
    assert first.describe()["settings"] == {
        "strength": 0.1, "step": 0.1, "radius": 0.8, "group": 5, "clip": first.method.identities()["clip"]
    }  # fmt: skip
    moved = save_clip(tmp_path / "clip")
    assert recipe(model, train_folder, "gif", clip=str(moved)).fingerprint == first.fingerprint
    torch.manual_seed(0)
    other = save_clip(tmp_path / "other" / "clip")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"logit_scale_init_value": 1.0}))
    assert recipe(model, train_folder, "gif", clip=str(other)).fingerprint != first.fingerprint


def test_fractals_are_part_of_a_recipe(editor: Synthesizer, train_folder: Path, tmp_path: Path) -> None:
    drawn = recipe(editor, train_folder, "diffusemix")
    assert drawn.describe()["settings"]["fractals"] is None
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        paint(tmp_path / name / "set" / "f.png", (90, 20, 20), seed)
    a, b, c = (recipe(editor, train_folder, "diffusemix", fractals=str(tmp_path / name / "set")) for name in "abc")
    assert a.fingerprint == b.fingerprint != c.fingerprint != drawn.fingerprint


# What nothing carries is said before anything runs.


def refusal(model: Synthesizer, images: Path, method: MethodName, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        recipe(model, images, method, **settings)
    return str(error.value)


def test_diffusemix_needs_a_backbone_that_edits(model: Synthesizer, train_folder: Path) -> None:
    assert refusal(model, train_folder, "diffusemix") == (
        "method: 'diffusemix' edits an image by an instruction, which StableDiffusion cannot do; "
        "choose the `backbone` instruct-pix2pix, or another `method`"
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name != "diffusemix"])
def test_a_backbone_that_edits_does_nothing_else(name: MethodName, editor: Synthesizer, train_folder: Path) -> None:
    assert refusal(editor, train_folder, name) == (
        f"method: '{name}' makes images from noise and a prompt, which InstructPix2Pix cannot do; "
        f"choose another `method` or `backbone`"
    )


def test_gif_needs_an_autoencoder(train_folder: Path, tmp_path: Path) -> None:
    pixels = Synthesizer(PixelDiffusion(str(save_pixel(tmp_path / "pixel"))))
    assert refusal(pixels, train_folder, "gif") == (
        "method: 'gif' changes the latents of an autoencoder, which PixelDiffusion cannot do; "
        "choose another `method` or `backbone`"
    )


def test_files_that_are_missing_are_told_of(model: Synthesizer, editor: Synthesizer, train_folder: Path) -> None:
    assert refusal(model, train_folder, "gif", clip="./no/where") == (
        "settings.clip: there is no folder './no/where'; check the path"
    )
    assert "settings.fractals: there is no folder 'nowhere'" in refusal(
        editor, train_folder, "diffusemix", fractals="nowhere"
    )
    assert "settings.strength: 0 leaves nothing to be denoised" in refusal(model, train_folder, "gif", strength=0)


def test_an_editor_is_not_tuned(editor: Synthesizer) -> None:
    with pytest.raises(UserError, match="InstructPix2Pix edits images by instruction and learns no class from a few"):
        Tuner(editor.backbone)


# Commands.


def test_a_folder_that_edits_brings_the_presets_settings(pix2pix: Path, tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 2, 0)
    main(
        [
            *("synthesize", "--images", str(images), "--backbone", str(pix2pix), "--method", "diffusemix"),
            *("--shots", "2", "--per_class", "1", "--model.steps", "2", "--model.precision", "fp32"),
            *("--trainer.accelerator", "cpu", "--output", str(tmp_path / "out")),
        ]
    )
    config = json.loads((tmp_path / "out" / "dataset.json").read_text())["config"]
    assert (config["guidance"], config["sampler"]["eta"], config["method"]) == (4.0, 1.0, "diffusemix")
    assert len(list(samples(tmp_path / "out"))) == 3


def test_dry_run_counts_the_edits_three_branches(
    pix2pix: Path, train_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            *("synthesize", "--images", str(train_folder), "--backbone", str(pix2pix), "--method", "diffusemix"),
            *("--shots", "2", "--per_class", "1", "--model.steps", "5", "--model.precision", "fp32", "--dry_run"),
            *("--trainer.accelerator", "cpu", "--output", str(tmp_path / "out"), "--batch_size", "2"),
        ]
    )
    assert f"(images x steps x guidance) {3 * 5 * 3}" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_diffusemix_on_another_backbone_is_one_line_of_the_command(
    model_folder: Path, train_folder: Path, tmp_path: Path, fails: Any
) -> None:
    args = ["synthesize", "--images", str(train_folder), "--backbone", str(model_folder), "--method", "diffusemix"]
    error = fails(main, [*args, "--output", str(tmp_path / "out")], 1)
    assert error == (
        "augment synthesize: method: 'diffusemix' edits an image by an instruction, which StableDiffusion cannot do; "
        "choose the --backbone instruct-pix2pix, or another --method\n"
    )
