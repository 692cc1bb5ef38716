"""`classify study` from end to end, on the tiny model."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import COLOURS, SIDE, mtimes, sha256s, start_program
from PIL import Image

from augment.images.sources import ImageFolder, ImageSource, Item
from classify.cli import main
from classify.studies.cells import Cell, Group
from classify.studies.runner import Runner

Fails = Callable[..., str]
JITTERED = {"name": "fix/chm, jittered", "method": "fix/chm", "batches": {"color_jitter": 0.9}}
METHODS = ["none", "fix/0", "fix/chm", JITTERED]
ROWS = ["none", "fix/0", "fix/chm", "fix/chm, jittered"]
SLUGS = ["none", "fix-0", "fix-chm", "fix-chm--jittered"]


@pytest.fixture(scope="module")
def config(
    model_folder: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path_factory: Any
) -> Path:
    path = tmp_path_factory.mktemp("config") / "study.yaml"
    content = {
        "methods": METHODS,
        "reference": "fix/0",
        "seeds": 2,
        "shots": [2, 3],
        "steps": 3,
        "extractor": f"local-dir:{extractor_folder}",
        "source": {
            "class_path": "augment.images.sources.ImageFolder",
            "init_args": {"path": str(train_folder), "test_path": str(test_folder)},
        },
        "synthesizer": {
            "class_path": "augment.synthesis.synthesizer.Synthesizer",
            "init_args": {
                "backbone": {
                    "class_path": "augment.backbones.stable_diffusion.StableDiffusion",
                    "init_args": {"model": str(model_folder)},
                },
                "steps": 2,
                "inversion": {"steps": 2, "warn_psnr": 0},
            },
        },
        "plan": {"per_class": 4, "shard_size": 6, "batch_size": 3},
        "classifiers": {"resnet": {"name": "test_resnet"}, "vit": {"name": "test_vit", "shots": [3]}},
        "batches": {"batch_size": 6, "image_size": SIDE},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run(config: Path, output: Path, *more: str) -> Path:
    main(["study", "--config", str(config), "--output", str(output), *more])
    return output


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config, tmp_path_factory.mktemp("studies") / "done")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")


def cells(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("cells/*.json"))}


def slugs(seeds: tuple[int, ...] = (0, 1), rows: list[str] = SLUGS) -> set[str]:
    blocks = [("resnet", 2), ("resnet", 3), ("vit", 3)]
    return {f"{row}-{name}-shots{shots}-seed{seed}" for row in rows for name, shots in blocks for seed in seeds}


def dataset(folder: Path, name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "datasets" / name / "dataset.json").read_text(encoding="utf-8"))
    return manifest


def test_every_row_ran_with_every_seed_and_classifier_at_its_shots(finished: Path) -> None:
    assert set(cells(finished)) == slugs()
    for row in cells(finished).values():
        assert [sum(line) for line in row["confusion"]] == [3, 3, 3]
        assert list(row["per_class"]) == list(COLOURS)
        assert list(row["set"])[:1] == ([] if row["method"] == "none" else ["fd_tinynet"])
        assert ("recognised_tinynet" in row["set"]) == (row["method"] != "none")


def test_cells_share_synthetic_sets(finished: Path) -> None:
    """One set per (method, shots, seed), whatever the number of rows and classifiers that train on it."""
    names = {f"{slug}-shots{shots}-seed{seed}" for slug in ("fix-0", "fix-chm") for shots in (2, 3) for seed in (0, 1)}
    assert {path.name for path in (finished / "datasets").iterdir()} == names
    assert {path.stem for path in (finished / "sets").iterdir()} == names
    for row in cells(finished).values():
        if row["dataset"] is not None:
            assert row["fingerprint"] == dataset(finished, row["dataset"])["fingerprint"]


def test_methods_of_a_seed_share_everything_but_the_method(finished: Path) -> None:
    for seed in (0, 1):
        configs = [dataset(finished, f"{slug}-shots3-seed{seed}")["config"] for slug in ("fix-0", "fix-chm")]
        assert [config.pop("method") for config in configs] == ["fix/0", "fix/chm"]
        assert configs[0] == configs[1]
        assert configs[0]["seed"] == seed


def hashes(folder: Path, shots: int, seed: int) -> set[str]:
    return {shot["sha256"] for shot in dataset(folder, f"fix-0-shots{shots}-seed{seed}")["few_shot"]}


def test_seeds_have_few_shot_sets_of_their_own(finished: Path) -> None:
    assert hashes(finished, 3, 0) != hashes(finished, 3, 1)


def test_fewer_shots_are_some_of_the_more(finished: Path) -> None:
    assert hashes(finished, 2, 0) < hashes(finished, 3, 0)


def test_latents_are_inverted_once(finished: Path) -> None:
    """A latent for each image in any few-shot set, whatever the number of methods, shots and classifiers."""
    images = hashes(finished, 3, 0) | hashes(finished, 3, 1)
    assert len(list((finished / "bank").glob("*.safetensors"))) == len(images)
    notes = [json.loads(path.read_text()) for path in sorted((finished / "inversions").iterdir())]
    assert sum(note["new"] for note in notes) == len(images)


def test_results_csv_is_the_cells(finished: Path) -> None:
    frame = pd.read_csv(finished / "results.csv")
    names = ["row", "classifier", "shots", "seed"]
    found = {tuple(r[name] for name in names): r["top1"] for r in frame.to_dict("records")}
    expected = {tuple(r[name] for name in names): pytest.approx(r["top1"]) for r in cells(finished).values()}
    assert found == expected
    assert {"seconds_train", "seconds_test", "seconds_synthesize", "fd_tinynet", "key", "fingerprint"} <= set(frame)


def test_rows_stand_in_the_order_of_the_configuration(finished: Path) -> None:
    assert list(dict.fromkeys(pd.read_csv(finished / "results.csv")["row"])) == ROWS


def test_the_page_needs_nothing_but_itself(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href|action|data)\s*=\s*["']?([^"'\s>]+)""", page)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"https?://|//cdn|@import|url\(|<script[^>]+src|<link", page)


def test_the_page_shows_every_row_with_its_images(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    for row in ROWS:
        assert f">{row}</td>" in page
    for title in ("Accuracy", "Accuracy against fd_tinynet", "Accuracy against cost", "Real", "fix/0"):
        assert f'<img alt="{title}"' in page
    for name in COLOURS:
        assert f"<th>{name}</th>" in page
    for heading in ("Is the backbone good enough?", "Accuracy against shots", "resnet, 2 shots", "vit, 3 shots"):
        assert f"<h2>{heading}</h2>" in page
    assert "<h3>What mean adjustment changes</h3>" in page
    assert "against fix/0, points" in page
    assert "nan" not in re.sub(r"base64,[^\"]+|<script>.*</script>", "", page, flags=re.DOTALL).lower()


def test_the_page_says_whether_the_backbone_is_good_enough(finished: Path) -> None:
    adequacy = json.loads((finished / "adequacy.json").read_text())
    assert adequacy["count"] == 7  # half of 15 images
    text = (finished / "report.md").read_text(encoding="utf-8")
    _, verdict, rest = text.split("## ", 2)
    assert verdict.startswith("Is the backbone good enough?")
    assert f"plain noise samples {adequacy['noise']:.3g} (7 images each" in verdict
    first = text.split("\n\n")[1]
    assert first == "The backbone is NOT good enough to rank methods: this study tests the machinery, not the methods."
    assert first in verdict
    assert rest.startswith("How to read the figures")


def test_the_markdown_says_the_same(finished: Path) -> None:
    text = (finished / "report.md").read_text(encoding="utf-8")
    page = (finished / "report.html").read_text(encoding="utf-8")
    for row in ROWS:
        lines = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
        assert lines
        for line in lines:
            for value in line.split("|")[2:-1]:
                assert value.strip(" *") in page
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) >= 4
    assert all((finished / picture).is_file() for picture in pictures)


def test_markdown_tables_are_whole(finished: Path) -> None:
    """Every row follows its head without a blank line, with as many cells: else no viewer shows a table."""
    lines = (finished / "report.md").read_text(encoding="utf-8").splitlines()
    rules = [n for n, line in enumerate(lines) if re.fullmatch(r"\|( -+:? \|)+", line)]
    assert len(rules) == 1 + 3 * 3 + 3 + 2  # against shots; three tables and the classes of each block; latents, costs
    for n in rules:
        columns = lines[n].count("|")
        assert lines[n - 2] == ""
        assert lines[n - 1].count("|") == columns
        assert lines[n + 1].count("|") == lines[n + 2].count("|") or lines[n + 2] == ""
        assert lines[n + 1].count("|") == columns


def test_a_second_run_repeats_no_cell(config: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr("classify.studies.runner.fit_and_test", never)
    monkeypatch.setattr("classify.studies.runner.synthesize", never)
    kept = ("cells/", "datasets/", "sets/", "inversions/", "bank/", "adequacy.json", "study.json")
    before = {name: when for name, when in mtimes(copy).items() if name.startswith(kept)}
    run(config, copy)
    assert {name: when for name, when in mtimes(copy).items() if name.startswith(kept)} == before


def forget(folder: Path, name: str) -> list[str]:
    """Delete the cells of a synthetic set, and the set."""
    row, shots, seed = name.rsplit("-", 2)
    lost = [path for path in folder.glob(f"cells/{row}-*-{shots}-{seed}.json") if "jittered" not in path.name]
    assert len(lost) == 2
    for path in lost:
        path.unlink()
    (folder / "sets" / f"{name}.json").unlink()
    shutil.rmtree(folder / "datasets" / name)
    return [path.name for path in lost]


def same(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> None:
    assert before.keys() == after.keys()
    for name, row in before.items():
        assert after[name] | {"seconds": 0} == row | {"seconds": 0}


def test_lost_cells_come_out_the_same(config: Path, copy: Path) -> None:
    before, times, shards = cells(copy), mtimes(copy / "cells"), sha256s(copy / "datasets" / "fix-chm-shots3-seed1")
    lost = forget(copy, "fix-chm-shots3-seed1")
    run(config, copy)
    same(before, cells(copy))
    assert sha256s(copy / "datasets" / "fix-chm-shots3-seed1") == shards
    after = mtimes(copy / "cells")
    assert {name for name in after if after[name] != times[name]} == set(lost)


def test_a_study_killed_before_it_noted_the_time_goes_on(config: Path, copy: Path) -> None:
    """All shards of a set are there, but the run that made the last one did not live to say how long it took."""
    before = cells(copy)
    (copy / "cells" / "fix-chm-vit-shots3-seed1.json").unlink()
    (copy / "sets" / "fix-chm-shots3-seed1.json").unlink()
    (copy / "datasets" / "fix-chm-shots3-seed1" / "run.json").unlink()
    run(config, copy)
    same(before, cells(copy))
    assert cells(copy)["fix-chm-vit-shots3-seed1"]["seconds"]["synthesize"] is None


def test_a_study_killed_while_measuring_keeps_what_is_known_of_the_sampling(config: Path, copy: Path) -> None:
    before = cells(copy)
    (copy / "cells" / "fix-chm-vit-shots3-seed1.json").unlink()
    note = copy / "sets" / "fix-chm-shots3-seed1.json"
    whole = json.loads(note.read_text())
    note.write_text(json.dumps({name: value for name, value in whole.items() if name not in ("metrics", "caveats")}))
    run(config, copy)
    assert json.loads(note.read_text()) == whole
    same(before, cells(copy))
    assert cells(copy)["fix-chm-vit-shots3-seed1"]["seconds"]["synthesize"] == whole["seconds"]


def test_a_set_of_other_mixing_is_never_taken_for_this_one(config: Path, copy: Path, fails: Fails) -> None:
    """A row of another name, so that only the study's own settings can tell the two sets apart."""
    rows = '[{"name": "renamed", "method": "fix/0"}]'
    args = ["study", "--config", str(config), "--output", str(copy), "--methods", rows, "--reference", "renamed"]
    error = fails(main, [*args, "--mixing.sources", "2"], 1)
    assert "holds a study of another configuration (mixing.sources: None there, 2 here)" in error


def test_several_processes_give_the_same_results(config: Path, finished: Path, tmp_path: Path) -> None:
    folder = run(config, tmp_path / "two", "--devices", "2", "--seeds", "1")
    same({name: cell for name, cell in cells(finished).items() if cell["seed"] == 0}, cells(folder))
    for path in (folder / "datasets").iterdir():
        assert sha256s(path) == sha256s(finished / "datasets" / path.name)


def test_rows_seeds_and_shots_may_be_added(config: Path, copy: Path) -> None:
    before = mtimes(copy / "cells")
    run(config, copy, "--methods", '["none", "fix/0", "nin/chm"]', "--seeds", "2", "--shots", "[2, 3, 4]")
    added = set(cells(copy)) - {name.removesuffix(".json") for name in before}
    expected = slugs(rows=["nin-chm"])
    assert expected < added
    assert {name for name in added - expected if "shots4" not in name} == set()
    assert {name: when for name, when in mtimes(copy / "cells").items() if name in before} == before
    assert ">nin/chm</td>" in (copy / "report.html").read_text(encoding="utf-8")
    assert set(json.loads((copy / "study.json").read_text())["rows"]) == {*ROWS, "nin/chm"}


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--steps", "4", "(steps: 3 there, 4 here)"),
        ("--threads", "2", "(threads: 1 there, 2 here)"),
        ("--plan.per_class", "5", "(plan.per_class: 4 there, 5 here)"),
        ("--batches.synthetic_fraction", "0.25", "(rows.fix/0.batches.synthetic_fraction: 0.5 there, 0.25 here)"),
        ("--classifiers", '{"resnet": {"name": "test_resnet", "lr": 0.1}}', "(classifiers.resnet.lr: 0.001 there, 0.1"),
        ("--synthesizer.init_args.steps", "3", "(synthesizer.steps: 2 there, 3 here)"),
    ],
)
def test_another_configuration_is_refused(
    config: Path, copy: Path, fails: Fails, option: str, value: str, expected: str
) -> None:
    before = mtimes(copy)
    error = fails(main, ["study", "--config", str(config), "--output", str(copy), option, value], 1)
    assert f"holds a study of another configuration {expected}" in error
    assert mtimes(copy) == before


def test_a_cell_of_another_study_is_refused(config: Path, copy: Path, fails: Fails) -> None:
    path = copy / "cells" / "none-vit-shots3-seed0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "0"}))
    error = fails(main, ["study", "--config", str(config), "--output", str(copy)], 1)
    assert f"output: '{path}' belongs to another study" in error


def test_only_the_baseline(config: Path, tmp_path: Path) -> None:
    only = ["--methods", '["none"]', "--seeds", "1", "--shots", "[3]", "--reference", "none"]
    folder = run(config, tmp_path / "none", *only, "--classifiers", '{"resnet": {"name": "test_resnet"}}')
    assert set(cells(folder)) == {"none-resnet-shots3-seed0"}
    assert not (folder / "datasets").exists()
    assert ">none</td>" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_row_may_drop_what_is_not_recognised(config: Path, finished: Path, tmp_path: Path) -> None:
    """The share that is dropped stands in the cell and in the report, and is the filter's own."""
    extractor = yaml.safe_load(config.read_text())["extractor"]
    rows = ["none", {"name": "kept", "method": "fix/0", "filter": extractor}]
    few = ["--seeds", "1", "--shots", "[3]", "--reference", "none", "--logger", "csv"]
    few += ["--extractor", json.dumps([extractor, "digits"])]
    folder = run(config, tmp_path / "filtered", "--methods", json.dumps(rows), *few)
    found = cells(folder)
    assert set(found) == {f"{row}-{name}-shots3-seed0" for row in ("none", "kept") for name in ("resnet", "vit")}
    assert sha256s(folder / "datasets" / "fix-0-shots3-seed0") == sha256s(finished / "datasets" / "fix-0-shots3-seed0")
    for name in ("resnet", "vit"):
        cell = found[f"kept-{name}-shots3-seed0"]
        dropped = sum(cell["filter"]["dropped"].values())
        assert dropped + cell["filter"]["kept"] == 12 and 0 < dropped < 12
        assert (cell["dropped"], cell["dropped_share"]) == (dropped, dropped / 12)
        assert "dropped" not in found[f"none-{name}-shots3-seed0"]
        assert f">{dropped}</td>" in (folder / "report.html").read_text(encoding="utf-8")
        one, two = cells(finished)[f"fix-0-{name}-shots3-seed0"]["set"], cell["set"]  # a second extractor only adds
        assert one.items() < two.items()
        assert {metric.removesuffix("_digits") for metric in two.keys() - one.keys()} == {
            metric.removesuffix("_tinynet") for metric in one
        }
    curves = {path.parent.name: pd.read_csv(path) for path in folder.glob("curves/*/metrics.csv")}
    assert set(curves) == set(found)
    for name, curve in curves.items():
        assert curve["test_top1"].dropna().item() == pytest.approx(found[name]["top1"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--extractor", "no_such_model"],
            "extractor: 'no_such_model' cannot be loaded .* offline use --ext",
        ),
        (["--extractor", '["digits", "digits"]'], r"extractor: \['digits', 'digits'\] must be names that differ"),
        (["--extractor", "resnet18.no_tag"], "extractor: 'resnet18.no_tag' cannot be loaded .* offline use --ext"),
        (
            ["--methods", '[{"method": "fix/0", "filter": "no_such_model"}]'],
            "row 'fix/0' at 2 shots: synthetic_filter: 'no_such_model' cannot be loaded .*; offline use digits",
        ),
        (
            ["--classifiers", '{"vit": {"name": "vit_tiny_patch16_224"}}'],
            "image_size: 'vit_tiny_patch16_224' cannot take",
        ),
        (["--methods", '["none", "nix/chm"]'], "methods: row 'nix/chm' has an unknown method 'nix/chm'; choose from"),
        (["--mixing.sources", "3"], "methods: row 'fix/0' at 2 shots: mixing.sources: 3 is greater than the 2 shots"),
        (["--methods", '["slerp"]', "--shots", "[1, 3]"], "row 'slerp' at 1 shots: method: 'slerp' needs 2 sources"),
        (["--methods", '["text2img"]'], "row 'text2img' at 2 shots: model.prompt: 'a digit' is the same for all 3"),
        (
            ["--methods", '[{"method": "fix/0", "settings": {"strength": 0.5}}]'],
            "row 'fix/0': settings.strength: method 'fix/0' has no such setting",
        ),
        (["--methods", '[{"name": "x", "batches": {"cutmix": 1, "batch_size": 7}}]'], "row 'x': .* even number"),
        (["--methods", '[{"name": "x", "filter": "digits"}]'], "row 'x' has a filter, but no synthetic images"),
        (["--reference", "nin/0"], "reference: no row is named 'nin/0'; choose from none, fix/0"),
        (["--shots", "[2, 3, 9]"], "shots: class 'blue sky' has 5 images, fewer than 9"),
        (["--classifiers", '{"x": {"name": "resnet_of_mine"}}'], "timm cannot make 'resnet_of_mine'"),
        (["--classifiers", "{}"], "classifiers: none given"),
        (["--methods", '[{"method": "none", "shots": [7]}]'], "row 'none': 7 shots are not among the study's shots"),
    ],
)
def test_mistakes_are_found_before_anything_is_run(
    config: Path, tmp_path: Path, fails: Fails, options: list[str], expected: str
) -> None:
    error = fails(main, ["study", "--config", str(config), "--output", str(tmp_path / "out"), *options], 1)
    assert re.search(expected, error)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_leaked_image_is_refused_before_anything_is_run(
    config: Path, train_folder: Path, test_folder: Path, tmp_path: Path, fails: Fails
) -> None:
    """A test image among the few-shot images of any seed."""
    leaking = Path(shutil.copytree(test_folder, tmp_path / "test"))
    for file in sorted((train_folder / "blue sky").iterdir()):
        shutil.copy(file, leaking / "blue sky" / f"leaked-{file.name}")
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["source"]["init_args"]["test_path"] = str(leaking)
    (tmp_path / "leak.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    error = fails(main, ["study", "--config", str(tmp_path / "leak.yaml"), "--output", str(tmp_path / "out")], 1)
    assert re.search(r"test image 'blue sky/leaked-(\d\d).png': is also the few-shot image 'blue sky/\1.png'", error)
    assert not (tmp_path / "out").exists()


def test_a_cell_that_fails_leaves_the_others_alone(
    config: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Runner._train

    def broken(self: Runner, cell: Cell, *rest: Any) -> None:
        if cell.slug == "fix-0-resnet-shots3-seed0":
            raise RuntimeError("no more\nmemory")
        train(self, cell, *rest)

    monkeypatch.setattr(Runner, "_train", broken)
    args = ["study", "--config", str(config), "--output", str(tmp_path / "out"), "--seeds", "1"]
    error = fails(main, args, 1)
    assert "classify study: 1 of 12 cells failed" in error.splitlines()[-1]
    assert "fix/0, resnet, 3 shots, seed 0: no more memory" in error.splitlines()[-1]
    assert set(cells(tmp_path / "out")) == slugs((0,)) - {"fix-0-resnet-shots3-seed0"}
    trace = (tmp_path / "out" / "failures" / "fix-0-resnet-shots3-seed0.txt").read_text()
    assert trace.startswith("Traceback")
    monkeypatch.undo()
    main(args)
    assert set(cells(tmp_path / "out")) == slugs((0,))


class Witness(ImageSource):
    """A source that notes when test images are asked for."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.asked: list[str] = []
        self.stage = "before"

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def pool(self) -> tuple[Item, ...]:
        return self.source.pool

    @property
    def test(self) -> tuple[Item, ...]:
        return self.source.test

    def content(self, item: Item) -> bytes:
        self._note(item, "hashed")
        return self.source.content(item)

    def image(self, item: Item) -> Image.Image:
        self._note(item, "decoded")
        return self.source.image(item)

    def _note(self, item: Item, how: str) -> None:
        if item.split == "test":
            self.asked.append(f"{self.stage}: {how}")


def test_test_images_are_seen_by_the_final_tests_alone(
    config: Path, train_folder: Path, test_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is run each is hashed twice and decoded once, for a verdict; then each cell's test decodes it."""
    import lightning as L

    from augment.backbones.stable_diffusion import StableDiffusion
    from augment.inversion.inversion import Inversion
    from augment.synthesis.synthesizer import Synthesizer
    from classify.studies.settings import Study
    from classify.studies.study import study
    from classify.train.batches import Batches

    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    witness = Witness(ImageFolder(train_folder, test_folder))
    fit, test, run_group = L.Trainer.fit, L.Trainer.test, Runner.run

    def watched(stage: str, method: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            before, witness.stage = witness.stage, stage
            try:
                return method(*args, **more)
            finally:
                witness.stage = before

        return call

    def run_watched(self: Runner, group: Group) -> Any:
        witness.stage = "between"
        return run_group(self, group)

    monkeypatch.setattr(L.Trainer, "fit", watched("fit", fit))
    monkeypatch.setattr(L.Trainer, "test", watched("test", test))
    monkeypatch.setattr(Runner, "run", run_watched)
    backbone = content["synthesizer"]["init_args"]["backbone"]["init_args"]["model"]
    settings = Study(
        str(tmp_path / "out"),
        Synthesizer(StableDiffusion(backbone), Inversion(steps=2, warn_psnr=0), steps=2),
        {"resnet": {"name": "test_resnet"}},
        witness,
        ["none", "fix/0"],
        seeds=1,
        shots=[3],
        steps=2,
        batches=Batches(batch_size=6, image_size=SIDE),
        extractor=content["extractor"],
    )
    study(settings)
    images = len(witness.test)
    assert {how: witness.asked.count(how) for how in witness.asked} == {
        "before: hashed": 2 * images,
        "before: decoded": images,
        "test: decoded": 2 * images,
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_study_that_is_stopped_keeps_its_cells(
    config: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    train = Runner._train

    def interrupted(self: Runner, cell: Cell, *rest: Any) -> None:
        if cell.seed == 1:
            os.kill(os.getpid(), number)
        train(self, cell, *rest)

    only = ["--methods", '["none"]', "--shots", "[3]", "--reference", "none"]
    only += ["--classifiers", '{"resnet": {"name": "test_resnet"}}']
    args = ["study", "--config", str(config), "--output", str(tmp_path / "out"), *only]
    monkeypatch.setattr(Runner, "_train", interrupted)
    before = signal.getsignal(number)
    error = fails(main, args, 128 + number)
    assert "stopped; 1 of 2 cells are kept, the same command goes on from there" in error
    assert "Traceback" not in error
    assert signal.getsignal(number) == before
    assert set(cells(tmp_path / "out")) == {"none-resnet-shots3-seed0"}
    assert not (tmp_path / "out" / "report.html").exists()
    monkeypatch.undo()
    main(args)
    assert set(cells(tmp_path / "out")) == {"none-resnet-shots3-seed0", "none-resnet-shots3-seed1"}


@pytest.mark.slow
def test_several_processes_are_stopped_together(config: Path, tmp_path: Path) -> None:
    """SIGTERM while two workers are busy: one line, exit code 143; the same command ends the study."""
    args = ["study", "--config", str(config), "--output", str(tmp_path / "out"), "--devices", "2"]
    process = start_program("classify", args)
    deadline = time.monotonic() + 240
    while len(list((tmp_path / "out").glob("cells/*.json"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert re.search(r"stopped; \d+ of 24 cells are kept, the same command goes on from there", output)
    assert "Traceback" not in output
    kept = mtimes(tmp_path / "out" / "cells")
    assert 2 <= len(kept) < 24
    run(config, tmp_path / "out")
    assert set(cells(tmp_path / "out")) == slugs()
    after = mtimes(tmp_path / "out" / "cells")
    assert {name: after[name] for name in kept} == kept
