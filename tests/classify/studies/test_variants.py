"""Rows that change the study's model: another inversion, a tuning to each few-shot set, or another backbone."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import mtimes
from small_study import cells, dataset, run, study_config
from tiny_families import save_pixel
from tiny_rivals import save_clip, save_pix2pix

from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion
from augment.errors import UserError
from augment.inversion.inversion import Inversion
from augment.mix.draws import Mixing
from augment.synthesis.plan import Plan
from augment.synthesis.synthesizer import Synthesizer
from augment.tuning.lora import Lora
from augment.tuning.settings import TuningSettings
from classify.studies.rows import Entry, describe_row, make_rows
from classify.studies.variants import Sampling, Variant, changed_model, make_variant
from classify.train.batches import Batches

MODEL = Synthesizer(StableDiffusion("digits"), Inversion(steps=20), prompt="a {class}")
QUICK = {"steps": 2, "batch_size": 2, "lora": {"rank": 2}}


def test_what_differs_is_named_and_the_rest_stays() -> None:
    assert make_variant(MODEL, {}, None, "row") == Variant()
    assert make_variant(MODEL, {"forward_steps": 3}, None, "row") == Variant(Inversion(steps=20, forward_steps=3))
    tuned = make_variant(MODEL, {}, {"steps": 9, "lora": {"rank": 2}}, "row").tuning
    assert tuned == TuningSettings(prompt="a {token}", steps=9, lora=Lora(rank=2))
    assert make_variant(MODEL, {}, {}, "row").name != Variant(tuning=tuned).name != Variant().name == ""


def test_a_row_may_sample_in_its_own_way_and_others_are_described_as_before() -> None:
    variant = make_variant(MODEL, {"steps": 7}, None, "row", sampling={"steps": 7, "guidance": 2.0})
    assert variant.sampling == Sampling(7, 2.0)
    model = changed_model(MODEL, variant)
    assert (model.steps, model.guidance, model.inversion.steps) == (7, 2.0, 7)
    assert model.backbone is MODEL.backbone
    assert changed_model(MODEL, Variant(Inversion(forward_steps=3))).guidance == MODEL.guidance
    assert Variant(Inversion(forward_steps=3)).describe().keys() == {"inversion", "tuning"}
    with pytest.raises(UserError, match="row 'row', sampling: there is no setting 'step'; choose from steps, guidance"):
        make_variant(MODEL, {}, None, "row", sampling={"step": 7})


@pytest.mark.parametrize(
    ("inversion", "tuned", "said"),
    [
        ({"forward_step": 3}, None, "row 'mine', inversion: there is no setting 'forward_step'"),
        ({"forward_steps": 30}, None, "30 is more than the 20 steps of the inversion"),
        ({"kind": "midpoint"}, None, "StableDiffusion cannot do 'midpoint'"),
        ({}, {"rank": 3}, "row 'mine', tuned: there is no setting 'rank'"),
        ({}, {"steps": 0}, "row 'mine', tuned: .*steps"),
    ],
)
def test_bad_settings_are_refused(inversion: dict[str, Any], tuned: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_variant(MODEL, inversion, tuned, "mine")


def test_a_backbone_that_cannot_be_tuned(tmp_path: Path) -> None:
    pixels = Synthesizer(PixelDiffusion(str(save_pixel(tmp_path / "pixels"))))
    with pytest.raises(UserError, match="row 'mine', tuned: PixelDiffusion cannot be tuned; leave `tuned` out"):
        make_variant(pixels, {}, {}, "mine")


def test_a_changed_model_shares_the_networks() -> None:
    model = changed_model(MODEL, Variant(Inversion(forward_steps=3)))
    assert model.backbone is MODEL.backbone and model.inversion.forward_steps == 3 and model.prompt == MODEL.prompt
    assert changed_model(MODEL, Variant()) is MODEL
    offloaded = Synthesizer(StableDiffusion("digits"), offload=True)
    assert changed_model(offloaded, Variant(Inversion(forward_steps=3))).offload and offloaded.backbone.offloaded


def test_rows_of_a_study(
    tmp_path: Path, model_folder: Path, train_folder: Path, test_folder: Path, extractor_folder: Path
) -> None:
    """One tuning for two rows of a seed; latents, sets and costs of their own; the other rows are as without them."""
    config = study_config(model_folder, train_folder, test_folder, extractor_folder) | {
        "methods": [
            "none",
            "nin/chm",
            {"name": "noisier", "method": "nin/chm", "inversion": {"forward_steps": 1, "draws": 2}},
            {"name": "tuned", "method": "nin/chm", "tuned": QUICK},
            {"name": "told", "method": "text2img", "tuned": QUICK},
        ],
        "reference": None,
        "seeds": 1,
        "shots": [3],
        "classifiers": {"resnet": {"name": "test_resnet"}},
    }
    file = tmp_path / "study.json"
    file.write_text(json.dumps(config))
    folder = run(file, tmp_path / "out")
    found = {cell["row"]: cell for cell in cells(folder).values()}
    assert set(found) == {"none", "nin/chm", "noisier", "tuned", "told"}
    (tuning,) = (folder / "tunings").iterdir()
    configs = {row: dataset(folder, cell["dataset"])["config"] for row, cell in found.items() if cell["dataset"]}
    assert (folder / "datasets" / "nin-chm-shots3-seed0").is_dir()
    assert configs["noisier"]["inversion"]["draws"] == 2 and "draws" not in configs["nin/chm"]["inversion"]
    assert "+tuned@" in configs["tuned"]["backbone"] and "+tuned@" not in configs["nin/chm"]["backbone"]
    assert configs["tuned"]["backbone"] == configs["told"]["backbone"]
    assert configs["told"]["prompt"] == "a digit {token}"
    spent = json.loads((tuning / "tuning.json").read_text(encoding="utf-8"))["spent"]
    assert found["told"]["cost"]["synthesize"] > spent["cost"] > 0
    assert len(list((folder / "inversions").glob("inverted*.json"))) == 3
    parts = ("cells", "datasets", "tunings", "inversions")
    before = [mtimes(folder / part) for part in parts]
    run(file, tmp_path / "out")
    assert [mtimes(folder / part) for part in parts] == before


# Another backbone.


def editor_of(folder: Path) -> Path:
    """A checkpoint with a preset of its own, quick on a CPU."""
    save_pix2pix(folder)
    model = {
        "backbone": {"class_path": "augment.backbones.instruct_pix2pix.InstructPix2Pix", "init_args": {"model": "X"}},
        "steps": 2,
        "guidance": 4.0,
        "prompt": "unused",
        "sampler": {"eta": 1.0},
        "inversion": {"warn_psnr": 0},
    }
    preset = {"title": "t", "license": "MIT", "download_gb": 0, "memory_gb": 0, "batch_size": 2, "classify": {}}
    (folder / "preset.yaml").write_text(json.dumps(preset | {"model": model}))  # JSON is YAML
    return folder


def test_a_row_may_have_a_backbone_of_its_own(tmp_path: Path) -> None:
    folder = editor_of(tmp_path / "editor")
    variant = make_variant(MODEL, {}, None, "mine", str(folder))
    model = changed_model(MODEL, variant)
    assert model.backbone.abilities == ("edit", "autoencoder") and model.prompt == "a {class}"
    assert (model.steps, model.guidance, model.sampler.eta) == (2, 4.0, 1.0)
    assert changed_model(MODEL, variant) is model  # its weights are read once
    again = make_variant(MODEL, {"batch_size": 3}, None, "mine", str(folder))
    assert changed_model(MODEL, again).backbone is model.backbone
    assert variant.name not in ("", again.name)
    assert "backbone" not in variant.describe() and model.backbone.identity in variant.describe()["model"]
    assert Variant(Inversion(steps=9)).describe().keys() == {"inversion", "tuning"}  # as before there was any


def test_a_backbone_of_a_row_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="methods: backbone: 'sd16' is no preset and no folder; did you mean sd"):
        make_variant(MODEL, {}, None, "mine", "sd16")
    with pytest.raises(UserError, match="row 'mine' has a `backbone` of its own, and `tuned` is for the study's"):
        make_variant(MODEL, {}, {}, "mine", "sd15")
    with pytest.raises(UserError, match="row 'none' has settings, but no method"):
        make_rows([Entry(backbone="sd15")], [5], Batches(), Mixing(), Plan(), MODEL)


def test_a_row_is_known_by_the_files_of_its_method(tmp_path: Path) -> None:
    clip = save_clip(tmp_path / "clip")
    (row,) = make_rows([Entry("gif", settings={"clip": str(clip)})], [5], Batches(), Mixing(), Plan(), MODEL)
    assert describe_row(row)["settings"]["clip"].startswith("clip@")


def test_rivals_are_rows_of_one_study(
    tmp_path: Path, model_folder: Path, train_folder: Path, test_folder: Path, extractor_folder: Path
) -> None:
    """Each with its own kind of backbone, on the same real images, with latents in banks of their own."""
    clip, editor = save_clip(tmp_path / "clip"), editor_of(tmp_path / "editor")
    config = study_config(model_folder, train_folder, test_folder, extractor_folder) | {
        "methods": [
            "none",
            {"method": "gif", "settings": {"clip": str(clip)}},
            {"method": "diffusemix", "backbone": str(editor), "batches": {"synthetic_fraction": 1.0}},
        ],
        "reference": None,
        "seeds": 1,
        "shots": [2],
        "classifiers": {"resnet": {"name": "test_resnet"}},
    }
    file = tmp_path / "study.json"
    file.write_text(json.dumps(config))
    folder = run(file, tmp_path / "out")
    found = {cell["row"]: cell for cell in cells(folder).values()}
    assert set(found) == {"none", "gif", "diffusemix"}
    gif, edited = (dataset(folder, found[row]["dataset"])["config"] for row in ("gif", "diffusemix"))
    assert gif["few_shot"] == edited["few_shot"]
    assert gif["backbone"].startswith("tiny@") and edited["backbone"].startswith("editor@")
    assert (gif["guidance"], edited["guidance"]) == (1.0, 4.0)
    before = [mtimes(folder / part) for part in ("cells", "datasets", "inversions")]
    run(file, tmp_path / "out")
    assert [mtimes(folder / part) for part in ("cells", "datasets", "inversions")] == before
