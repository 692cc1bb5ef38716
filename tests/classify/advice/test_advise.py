"""A search for advice from end to end on the tiny model: what it leaves, and what becomes of one that was killed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SIDE
from small_advice import SPACE, advisor, told

import augment.cli
import classify
import classify.cli
from augment.dataset.manifest import read_manifest
from classify.advice.bench import Bench, Score
from classify.advice.candidates import candidate_of, plain
from classify.advice.folder import AdviceFolder
from classify.advice.run import folds_of, search_and_confirm
from classify.report.advice_files import write_files


def scores(folder: Path) -> dict[str, list[int]]:
    """The folds that every candidate of the search was run on."""
    return {one["name"]: [score["fold"] for score in one["scores"]] for one in told(folder)["search"]}


def test_candidates_are_compared_on_the_same_folds_and_confirmed_on_fresh_ones(finished: Path) -> None:
    assert scores(finished) == {"none": [0, 1, 2], "mixup": [0, 1, 2], "fix/chm": [0, 1, 2]}
    confirmed = told(finished)["confirmed"]
    assert next(iter(confirmed["candidates"])) == "none"
    for found in confirmed["candidates"].values():
        assert [score["fold"] for score in found] == [3, 4]
    assert confirmed["ratio"] == pytest.approx(1 / 2)  # one of three images of each class is held out


def test_what_a_fold_trains_on_is_never_what_it_is_judged_by(finished: Path) -> None:
    """A synthetic set's manifest names the images that it was made from: the fold's own, and two of each class."""
    datasets = sorted((finished / "trials" / "datasets").iterdir())
    assert len(datasets) >= 3
    made_from = [{shot["sha256"] for shot in read_manifest(dataset)["few_shot"]} for dataset in datasets]
    assert all(len(images) == 6 for images in made_from)
    assert len(set.union(*made_from)) == 9


def test_latents_are_made_once_for_all_folds(finished: Path) -> None:
    assert len(list((finished / "trials" / "bank").glob("*.safetensors"))) == 9


def test_candidates_share_a_set_where_its_recipe_is_the_same(
    model_folder: Path, train_folder: Path, tmp_path: Path
) -> None:
    settings = advisor(tmp_path / "out", model_folder, train_folder)
    fold = folds_of(settings)[0][0]
    bench, names = Bench(settings, AdviceFolder(tmp_path / "out")), []
    for policy, share in (("none", 0.5), ("mixup", 0.5), ("none", 0.25)):
        values = {"policy": policy, "share": share, "method": "fix/chm"}
        candidate = candidate_of(settings.space, lambda name, choices, v=values: v.get(name, choices[0]))
        runner = bench.runner(candidate, fold)
        wanted = bench.cell(runner, fold).synthetic
        assert wanted is not None
        names.append(runner.study.set_name(wanted))
    assert len(set(names)) == 1


def test_what_cannot_be_done_is_left_out_with_the_reason(finished: Path) -> None:
    left_out = told(finished)["left_out"]
    assert left_out["sources 5"].startswith("5 is greater than the 2 shots of class 'blue sky'")
    assert left_out["forward_steps 3"].startswith("3 is more than the 2 steps of the inversion")


def test_the_page_holds_its_pictures_and_is_told_as_markdown_too(finished: Path) -> None:
    page = (finished / "advice.html").read_text(encoding="utf-8")
    answer = told(finished)["answer"]
    assert page.count("data:image/png;base64,") >= 3
    assert "http" not in page.split("<h2>What was run</h2>")[0]
    assert answer.split(".")[0].split("'")[0] in page
    assert answer.split("'")[0] in (finished / "advice.md").read_text(encoding="utf-8")


def test_python_gets_the_answer(finished: Path, model_folder: Path, train_folder: Path) -> None:
    """Asked again, everything is read back and nothing is run."""
    before = told(finished)
    found = classify.advise(advisor(finished, model_folder, train_folder))
    assert told(finished) == before
    assert (found.kind, found.answer) == (before["kind"], json.loads((finished / "advice.json").read_text())["answer"])
    assert found.page == finished / "advice.html"
    assert found.commands[-1].startswith("classify fit --config ")


class KilledError(BaseException):
    """In place of SIGKILL: nothing in between may answer it."""


@pytest.mark.parametrize("after", [4, 9])
def test_a_killed_search_goes_on_to_the_same_answer(
    finished: Path, model_folder: Path, train_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    settings, score, calls = advisor(tmp_path / "out", model_folder, train_folder), Bench.score, []

    def mortal(self: Bench, candidate: Any, fold: Any) -> Score:
        calls.append(candidate)
        if len(calls) > after + 3:  # the first three are the probes
            raise KilledError
        return score(self, candidate, fold)

    with monkeypatch.context() as patch:
        patch.setattr(Bench, "score", mortal)
        with pytest.raises(KilledError):
            classify.advise(settings)
    classify.advise(advisor(tmp_path / "out", model_folder, train_folder))
    assert told(tmp_path / "out") == told(finished)


def test_a_recipe_runs_as_it_is(copy: Path, model_folder: Path, train_folder: Path) -> None:
    findings = search_and_confirm(advisor(copy, model_folder, train_folder))
    commands = write_files(findings, "fix/chm", {})
    assert [command.split()[:3] for command in commands] == [
        ["augment", "synthesize", "--config"],
        ["classify", "fit", "--config"],
    ]
    augment.cli.main(["synthesize", "--config", str(copy / "recipe.yaml"), "--trainer.accelerator", "cpu"])
    made = read_manifest(copy / "dataset")
    assert len(made["few_shot"]) == 9
    assert (made["config"]["method"], made["config"]["steps"], made["config"]["plan"]["per_class"]) == ("fix/chm", 2, 4)
    used = {shot["sha256"] for shot in findings.advisor.describe()["few_shot"] for shot in [{"sha256": shot[2]}]}
    assert {shot["sha256"] for shot in made["few_shot"]} == used
    classify.cli.main(["fit", "--config", str(copy / "train.yaml"), "--trainer.accelerator", "cpu"])
    assert (copy / "classifier" / "classifier" / "model.safetensors").is_file()
    results = json.loads((copy / "classifier" / "results.json").read_text())
    assert "top1" not in results  # there is nothing left to test it on
    assert "which were never tested" in (copy / "classifier" / "classifier" / "README.md").read_text()


def test_a_policy_needs_no_recipe_and_takes_an_older_one_away(
    copy: Path, model_folder: Path, train_folder: Path
) -> None:
    findings = search_and_confirm(advisor(copy, model_folder, train_folder))
    write_files(findings, "fix/chm", {})
    commands = write_files(findings, "mixup", {})
    assert len(commands) == 1
    assert not (copy / "recipe.yaml").exists()
    train = yaml.safe_load((copy / "train.yaml").read_text())
    assert train["data"]["batches"]["mixup"] == 0.2
    assert train["data"]["synthetic"] is None


def test_a_tuned_recipe_is_tuned_first(copy: Path, model_folder: Path, train_folder: Path) -> None:
    settings = advisor(copy, model_folder, train_folder)
    findings = search_and_confirm(settings)
    space = classify.Space(methods=["sdedit"], per_class=[4], tunings={"tuned": {"steps": 2, "batch_size": 2}})
    tuned = plain(space, "sdedit")
    outcomes = [*findings.outcomes, type(findings.outcomes[0])(tuned, {})]
    changed = type(findings)(**vars(findings) | {"outcomes": outcomes, "advisor": _with(settings, space)})
    commands = write_files(changed, "sdedit", {})
    assert [command.split()[1] for command in commands] == ["tune", "synthesize", "fit"]
    for command in commands[:2]:
        _program, name, *words = command.split()
        augment.cli.main([name, *words, "--trainer.accelerator", "cpu"])
    assert read_manifest(copy / "dataset")["config"]["method"] == "sdedit"


def _with(settings: classify.Advisor, space: classify.Space) -> classify.Advisor:
    return classify.Advisor(
        **{name: getattr(settings, name) for name in settings.__dataclass_fields__} | {"space": space}
    )


def test_the_command_reads_what_python_is_given_and_goes_on_if_it_is_told_to(
    copy: Path, model_folder: Path, train_folder: Path, tmp_path: Path
) -> None:
    """Its options make the same settings as Python's, so that the folder is taken as it is; then it makes the rest."""
    model = {
        "class_path": "augment.synthesis.synthesizer.Synthesizer",
        "init_args": {
            "backbone": {
                "class_path": "augment.backbones.stable_diffusion.StableDiffusion",
                "init_args": {"model": str(model_folder)},
            },
            "prompt": "a photo of a {class}",
            "steps": 2,
            "inversion": {"steps": 2, "warn_psnr": 0},
        },
    }
    config = {
        "output": str(copy),
        "synthesizer": model,
        "classifier": {"name": "test_resnet", "warmup_steps": 2},
        "source": {
            "class_path": "augment.images.sources.ImageFolder",
            "init_args": {"path": str(train_folder)},
        },
        "hours": 1,
        "shots": 3,
        "repeats": 1,
        "confirm": 2,
        "steps": 3,
        "candidates": 3,
        "space": SPACE,
        "plan": {"batch_size": 6, "shard_size": 6},
        "batches": {"batch_size": 6, "image_size": SIDE},
    }
    file = tmp_path / "advise.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    classify.cli.main(["advise", "--config", str(file), "--then"])
    assert (copy / "classifier" / "classifier" / "model.safetensors").is_file()
    assert "Command: <code>classify advise --config" in (copy / "advice.html").read_text(encoding="utf-8")
