"""Rows that change the study's model: another inversion, or a tuning to each few-shot set."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import mtimes
from small_study import cells, dataset, run, study_config
from tiny_families import save_pixel

from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion
from augment.errors import UserError
from augment.inversion.inversion import Inversion
from augment.synthesis.synthesizer import Synthesizer
from augment.tuning.lora import Lora
from augment.tuning.settings import TuningSettings
from classify.studies.variants import Sampling, Variant, changed_model, make_variant

MODEL = Synthesizer(StableDiffusion("digits"), Inversion(steps=20), prompt="a {class}")
QUICK = {"steps": 2, "batch_size": 2, "lora": {"rank": 2}}


def test_what_differs_is_named_and_the_rest_stays() -> None:
    assert make_variant(MODEL, {}, None, "row") == Variant()
    assert make_variant(MODEL, {"forward_steps": 3}, None, "row") == Variant(Inversion(steps=20, forward_steps=3))
    tuned = make_variant(MODEL, {}, {"steps": 9, "lora": {"rank": 2}}, "row").tuning
    assert tuned == TuningSettings(prompt="a {token}", steps=9, lora=Lora(rank=2))
    assert make_variant(MODEL, {}, {}, "row").name != Variant(tuning=tuned).name != Variant().name == ""


def test_a_row_may_sample_in_its_own_way_and_others_are_described_as_before() -> None:
    variant = make_variant(MODEL, {"steps": 7}, None, "row", {"steps": 7, "guidance": 2.0})
    assert variant.sampling == Sampling(7, 2.0)
    model = changed_model(MODEL, variant)
    assert (model.steps, model.guidance, model.inversion.steps) == (7, 2.0, 7)
    assert model.backbone is MODEL.backbone
    assert changed_model(MODEL, Variant(Inversion(forward_steps=3))).guidance == MODEL.guidance
    assert Variant(Inversion(forward_steps=3)).describe().keys() == {"inversion", "tuning"}
    with pytest.raises(UserError, match="row 'row', sampling: there is no setting 'step'; choose from steps, guidance"):
        make_variant(MODEL, {}, None, "row", {"step": 7})


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
