"""Every method from images to shards: what it reads, what it leaves in the bank, what its records say."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import COLOURS, SIDE, Job, run_program, sha256s
from safetensors import safe_open
from tiny_families import save_pixel
from tiny_rivals import save_clip, save_pix2pix
from torch import Tensor

from augment.backbones.instruct_pix2pix import InstructPix2Pix
from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.start import Sampler, Start
from augment.cli import main
from augment.dataset.manifest import describe_dataset
from augment.dataset.reader import read_shard
from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.pixels import to_tensor
from augment.images.sources import Digits, ImageFolder
from augment.inversion.inversion import Inversion
from augment.mix.draws import Draws
from augment.mix.registry import METHODS, MethodName
from augment.mix.single import SDEdit
from augment.synthesis.pipeline import synthesize
from augment.synthesis.plan import Plan
from augment.synthesis.recipe import Recipe, make_recipe
from augment.synthesis.synthesizer import Synthesizer

Samples = list[tuple[Tensor, dict[str, Any]]]
PROMPT = "a photo of a {class}"


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Synthesizer:
    return Synthesizer(
        StableDiffusion(str(model_folder)), Inversion(steps=2, warn_psnr=0), steps=4, guidance=2.0, prompt=PROMPT
    )


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    """A model that edits by instruction."""
    backbone = InstructPix2Pix(str(save_pix2pix(tmp_path_factory.mktemp("models") / "pix2pix")))
    return Synthesizer(backbone, Inversion(steps=2, warn_psnr=0), steps=4, guidance=4.0, sampler=Sampler(eta=1.0))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_clip(tmp_path_factory.mktemp("models") / "clip"))


def needs_of(
    name: MethodName, model: Synthesizer, editor: Synthesizer, clip: str
) -> tuple[Synthesizer, dict[str, Any]]:
    """The model that carries a method, and what it must be given."""
    return (editor if name == "diffusemix" else model), ({"clip": clip} if name == "gif" else {})


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("banks") / "bank")


PLAN = Plan(per_class=2, shard_size=6, batch_size=3)


def recipe(model: Synthesizer, images: Path, method: MethodName, **more: Any) -> Recipe:
    return make_recipe(model, choose_few_shot_set(ImageFolder(images), 3, 0), method, plan=PLAN, **more)


def make(
    model: Synthesizer, output: Path, images: Path, method: MethodName, bank: str | None = None, **more: Any
) -> Path:
    made = recipe(model, images, method, **more)
    return synthesize(model, ImageFolder(images), made, output, bank, show_progress=False)


def samples(folder: Path) -> Samples:
    shards = (sample for shard in sorted(folder.glob("*.tar")) for sample in read_shard(shard))
    return [(torch.from_numpy(np.array(image)), record) for _, image, record in shards]


def kinds(folder: Path) -> Iterator[dict[str, Any]]:
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            yield json.loads(file.metadata()["key"])


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_makes_a_dataset(
    name: MethodName, model: Synthesizer, editor: Synthesizer, clip: str, train_folder: Path, bank: str, tmp_path: Path
) -> None:
    carrier, settings = needs_of(name, model, editor, clip)
    where = bank if carrier is model else str(tmp_path / "bank")
    made = samples(make(carrier, tmp_path / "out", train_folder, name, where, settings=settings))
    assert {image.shape for image, _ in made} == {(SIDE, SIDE, 3)}
    assert [(record["label"], record["index"]) for _, record in made] == [(c, n) for c in range(3) for n in range(2)]
    count = METHODS[name].sources
    for _, record in made:
        assert {key: type(value).__name__ for key, value in record.items()} == {
            **dict.fromkeys(("class", "method"), "str"),
            **dict.fromkeys(("index", "label", "seed", "steps"), "int"),
            **dict.fromkeys(("sources", "weights", "soft_labels", "soft_weights"), "list"),
            "guidance": "float",
            **({"strength": "float"} if isinstance(METHODS[name], SDEdit) else {}),
        }
        assert record["method"] == name
        assert len(record["sources"]) == len(record["weights"]) == (3 if count is None else count)
        assert record["class"] == list(COLOURS)[record["label"]]
        assert sum(record["soft_weights"]) == pytest.approx(1)
        assert {type(label) for label in record["soft_labels"]} == {int}
        assert {type(weight) for weight in record["soft_weights"]} == {float}


def test_methods_share_their_sources(model: Synthesizer, train_folder: Path) -> None:
    """A method of fewer sources takes the first of the same draw."""
    drawn = {}
    for name in ("nin/chm", "slerp", "copy", "sdedit"):
        planned = recipe(model, train_folder, name)
        drawn[name] = [planned.mixture(label, index)[1].sources for label in range(3) for index in range(5)]
    assert drawn["slerp"] == [sources[:2] for sources in drawn["nin/chm"]]
    assert drawn["copy"] == drawn["sdedit"] == [sources[:1] for sources in drawn["nin/chm"]]


def test_circle_records_no_weights_that_it_does_not_use(model: Synthesizer, train_folder: Path) -> None:
    assert recipe(model, train_folder, "circle").mixture(0, 0)[1].weights == (0.5, 0.5)
    assert recipe(model, train_folder, "slerp").mixture(0, 0)[1].weights != (0.5, 0.5)


# What reaches the bank.


def test_text_to_image_inverts_nothing(model: Synthesizer, train_folder: Path, tmp_path: Path) -> None:
    before = model.backbone.evaluations
    folder = make(model, tmp_path / "out", train_folder, "text2img")
    assert model.backbone.evaluations - before == 6 * 4 * 2  # images, steps, both branches of guidance
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {tuple(record["sources"]) for _, record in samples(folder)} == {()}


def test_text_to_image_is_the_sampler_on_seeded_noise(model: Synthesizer, train_folder: Path, tmp_path: Path) -> None:
    made = samples(make(model, tmp_path / "out", train_folder, "text2img"))
    for image, record in made[:3]:
        noise = Draws(0, record["label"], record["index"]).noise(model.backbone.latent_shape)
        assert_pixels(model, image, Start(noise[None], (f"a photo of a {record['class']}",)))


@torch.no_grad()
def assert_pixels(model: Synthesizer, image: Tensor, start: Start) -> None:
    backbone = model.backbone
    decoded = backbone.decode(backbone.denoise(start, model.steps, model.guidance))[0]
    assert float((image - ((decoded / 2 + 0.5) * 255).permute(1, 2, 0)).abs().max()) <= 0.51


@torch.no_grad()
@pytest.mark.parametrize("strength", [0.75, [0.25, 0.5, 0.75, 1.0]])
def test_sdedit_is_its_sources_noised(
    strength: float | list[float], model: Synthesizer, train_folder: Path, tmp_path: Path
) -> None:
    """The bank holds the clean latents, of no prompt and no steps; the image is made by hand from its record.

    Images of several strengths (DA-Fusion) come out of one batch.
    """
    settings = {"strength": strength}
    made = samples(make(model, tmp_path / "out", train_folder, "sdedit", settings=settings))
    stored = list(kinds(tmp_path / "bank"))
    assert len(stored) == 9
    assert {(key["kind"], key["prompt"], key["steps"]) for key in stored} == {("encoded", "", 0)}
    source = ImageFolder(train_folder)
    items = {item.name: item for item in source.pool}
    drawn = {record["strength"] for _, record in made}
    assert drawn <= ({strength} if isinstance(strength, float) else {*strength})
    assert (len(drawn) > 1) == isinstance(strength, list)
    for image, record in made:
        clean = model.backbone.encode(to_tensor(source.image(items[record["sources"][0]]), SIDE)[None])
        noise = Draws(0, record["label"], record["index"]).noise(model.backbone.latent_shape)
        prompt = f"a photo of a {record['class']}"
        assert_pixels(model, image, Start(clean, (prompt,), strength=record["strength"], noise=noise[None]))


def test_clean_and_inverted_latents_share_a_bank(model: Synthesizer, train_folder: Path, tmp_path: Path) -> None:
    for name in ("copy", "sdedit", "diff-mix", "tint"):
        make(model, tmp_path / name, train_folder, name)  # type: ignore[arg-type]
    stored = [key["kind"] for key in kinds(tmp_path / "bank")]
    assert (stored.count("ddim"), stored.count("encoded"), len(stored)) == (9, 9, 18)


def test_copy_is_the_reconstruction(model: Synthesizer, train_folder: Path, tmp_path: Path) -> None:
    made = samples(make(model, tmp_path / "out", train_folder, "copy"))
    source = ImageFolder(train_folder)
    items = {item.name: item for item in source.pool}
    for image, record in made[:2]:
        prompt = f"a photo of a {record['class']}"
        with torch.no_grad():
            clean = model.backbone.encode(to_tensor(source.image(items[record["sources"][0]]), SIDE)[None])
            latent = model.backbone.invert(clean, [prompt], 2, 1.0).latent
        assert_pixels(model, image, Start(latent, (prompt,)))


# Labels.


def test_diff_mix_goes_from_another_class_to_its_own(model: Synthesizer, train_folder: Path, tmp_path: Path) -> None:
    made = samples(make(model, tmp_path / "out", train_folder, "diff-mix", settings={"gamma": 2}))
    names = list(COLOURS)
    for _, record in made:
        source, target = record["soft_labels"]
        assert target == record["label"] != source
        assert record["sources"][0].split("/")[0] == names[source]
        assert record["soft_weights"] == pytest.approx([1 - 0.49, 0.49])


def test_every_other_class_is_a_source_of_diff_mix() -> None:
    """600 draws among two others: 300 each, deviation sqrt(600 / 4) = 12; five of it."""
    drawn = [Draws(0, 1, index).other_class((0, 1, 2)) for index in range(600)]
    assert set(drawn) == {0, 2}
    assert abs(drawn.count(0) - 300) < 60


def test_each_kind_of_draw_has_its_own_stream() -> None:
    draws = Draws(0, 1, 2)
    assert torch.equal(draws.noise((4, 2, 2)), Draws(0, 1, 2).noise((4, 2, 2)))
    others = [Draws(1, 1, 2), Draws(0, 2, 2), Draws(0, 1, 3)]
    assert all(not torch.equal(draws.noise((4,)), other.noise((4,))) for other in others)
    assert all(draws.uniform() != other.uniform() for other in others)
    assert {Draws(0, 0, index).choose(3) for index in range(50)} == {0, 1, 2}


# What cannot work is said before anything runs.


def refusal(model: Synthesizer, images: Path, method: MethodName, **more: Any) -> str:
    with pytest.raises(UserError) as error:
        recipe(model, images, method, **more)
    return str(error.value)


@pytest.mark.parametrize("name", ["text2img", "diff-mix"])
def test_a_prompt_without_the_class_cannot_tell_it(name: MethodName, model_folder: Path) -> None:
    """The embedded digits have one prompt for all, whichever classes are asked for."""
    model = Synthesizer(StableDiffusion(str(model_folder)))
    for classes in (None, ["three", "four"]):
        with pytest.raises(UserError) as error:
            make_recipe(model, choose_few_shot_set(Digits(), 2, 0, classes), name)
        assert str(error.value) == (
            f"model.prompt: 'a digit' is the same for all 10 classes, and '{name}' knows a class by its prompt alone; "
            f"put {{class}} into `model.prompt` or choose another `method`"
        )


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("text2img", "diff-mix")])
def test_all_others_work_with_one_prompt_for_all(
    name: MethodName, model_folder: Path, editor: Synthesizer, clip: str
) -> None:
    few_shot = choose_few_shot_set(Digits(), 3, 0, ["three"])
    model, settings = needs_of(name, Synthesizer(StableDiffusion(str(model_folder))), editor, clip)
    made = make_recipe(model, few_shot, name, settings=settings)
    assert made.inversion_prompts == {3: "a digit"}


def test_a_model_that_reads_no_prompt_cannot_be_told_the_class(train_folder: Path, tmp_path: Path) -> None:
    backbone = PixelDiffusion(str(save_pixel(tmp_path / "pixel")))
    error = refusal(Synthesizer(backbone, prompt="{class}"), train_folder, "text2img")
    assert error == (
        f"method: 'text2img' tells the model the class by its prompt, and {backbone.identity} reads none; "
        f"choose another `method` or `backbone`"
    )


def test_text_to_image_of_a_source_with_one_class_needs_no_word_for_it(model: Synthesizer, tmp_path: Path) -> None:
    from conftest import make_images

    images = make_images(tmp_path / "images", 3, 0, {"only": (9, 9, 9)})
    plain = Synthesizer(model.backbone, prompt="a digit")
    assert recipe(plain, images, "text2img").inversion_prompts == {0: "a digit"}
    assert refusal(plain, images, "diff-mix") == (
        "method: 'diff-mix' goes from one class to another, the few-shot set has images of one; "
        "add a class to `classes` or choose another `method`"
    )


def test_a_class_that_the_model_does_not_know_is_named(train_folder: Path, tmp_path: Path) -> None:
    backbone = PixelDiffusion(str(save_pixel(tmp_path / "pixel", classes=3)), class_names=["cat", "dog", "cow"])
    error = refusal(Synthesizer(backbone, prompt="{class}"), train_folder, "text2img")
    assert error == "prompt: 'blue sky' is no class of this model; a `prompt` must be one of cat, dog, cow"


def test_suffixes_need_a_model_that_reads_text(train_folder: Path, tmp_path: Path) -> None:
    backbone = PixelDiffusion(str(save_pixel(tmp_path / "pixel", classes=3)), class_names=list(COLOURS))
    model = Synthesizer(backbone, prompt="{class}")
    error = refusal(model, train_folder, "circle", settings={"suffixes": [" at sea"]})
    assert error == f"settings.suffixes: {backbone.identity} reads no text; leave `settings.suffixes` out"


def test_a_pair_needs_two_images(model: Synthesizer, train_folder: Path) -> None:
    with pytest.raises(UserError, match="method: 'slerp' needs 2 sources, class 'blue sky' has 1; raise `shots`"):
        make_recipe(model, choose_few_shot_set(ImageFolder(train_folder), 1, 0), "slerp")


def test_a_recipe_is_never_changed(model: Synthesizer, train_folder: Path) -> None:
    """Frozen through and through, and its fingerprint is that of what it says of itself."""
    made = recipe(model, train_folder, "nin/chm")
    with pytest.raises(AttributeError):
        made.seed = 1  # type: ignore[misc]
    assert made.fingerprint == describe_dataset(made.describe())["fingerprint"]
    assert replace(made, seed=1).fingerprint != made.fingerprint


def test_a_recipe_needs_a_number_for_its_batch_size(model: Synthesizer, train_folder: Path) -> None:
    with pytest.raises(UserError, match=r"plan.batch_size: 'auto' is no number yet"):
        make_recipe(model, choose_few_shot_set(ImageFolder(train_folder), 3, 0), plan=replace(PLAN, batch_size="auto"))


def test_negative_prompts_are_for_inverted_latents_only(
    model: Synthesizer, train_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the prompt itself for "no prompt" guidance would do nothing, and text alone would say nothing."""
    used: list[Start] = []
    real = StableDiffusion.denoise

    def spy(self: Any, start: Start, *rest: Any) -> Tensor:
        used.append(start)
        return real(self, start, *rest)

    monkeypatch.setattr(StableDiffusion, "denoise", spy)
    negative = Synthesizer(
        model.backbone, Inversion("negative-prompt", 2, 2.0, warn_psnr=0), steps=2, guidance=2.0, prompt=PROMPT
    )
    make(negative, tmp_path / "text", train_folder, "text2img")
    assert {start.negative for start in used} == {None}
    used.clear()
    make(negative, tmp_path / "copy", train_folder, "copy")
    assert {start.negative == start.prompts for start in used} == {True}


# Through the command.


def test_settings_are_part_of_the_configuration(job: Job, tmp_path: Path, fails: Callable[..., str]) -> None:
    more = ("--method", "sdedit", "--data.settings.strength")
    job.synthesize(tmp_path / "out", *more, "0.3")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["config"]["settings"] == {"strength": 0.3}
    error = fails(main, ["synthesize", *job.args(tmp_path / "out", *more, "0.5")], 1)
    assert "(settings.strength: 0.3 there, 0.5 here)" in error
    error = fails(main, ["synthesize", *job.args(tmp_path / "new", "--data.settings.strength", "0.3")], 1)
    assert "settings.strength: method 'nin/chm' has no such setting; leave it out" in error


@pytest.mark.slow
def test_two_processes_write_the_same_noise_as_one(job: Job, tmp_path: Path) -> None:
    """Diff-Mix draws noise, class and source; its clean latents are encoded by both processes."""
    args = ("--method", "diff-mix")
    job.synthesize(tmp_path / "one" / "out", *args)
    two = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
    run_program("augment", ["synthesize", *job.args(tmp_path / "two" / "out", *args, *two)])
    assert len(sha256s(tmp_path / "one" / "out")) == 3
    assert sha256s(tmp_path / "two" / "out") == sha256s(tmp_path / "one" / "out")


def test_invert_prepares_what_the_method_needs(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["invert", *job.args(tmp_path / "out", "--method", "sdedit")])
    assert {key["kind"] for key in kinds(tmp_path / "bank")} == {"encoded"}
    main(["invert", *job.args(tmp_path / "text" / "out", "--method", "text2img")])
    assert not (tmp_path / "text" / "bank").exists()
    assert "0 of 0 images inverted anew" in capsys.readouterr().out
