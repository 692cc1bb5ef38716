"""`classify study` from end to end, on the tiny model."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import COLOURS, SIDE, mtimes, sha256s

from classify.cli import main

Fails = Callable[..., str]
METHODS = ["none", "fix/0", "fix/chm"]


@pytest.fixture(scope="module")
def config(
    model_folder: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path_factory: Any
) -> Path:
    path = tmp_path_factory.mktemp("config") / "study.yaml"
    content = {
        "methods": METHODS,
        "seeds": 2,
        "shots": 3,
        "steps": 3,
        "extractor": f"local-dir:{extractor_folder}",
        "source": {
            "class_path": "augment.data.ImageFolder",
            "init_args": {"path": str(train_folder), "test_path": str(test_folder)},
        },
        "synthesizer": {
            "class_path": "augment.synthesizer.Synthesizer",
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
        "classifier": {"class_path": "classify.classifier.Classifier", "init_args": {"name": "test_resnet"}},
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


def test_every_method_ran_with_every_seed(finished: Path) -> None:
    assert set(cells(finished)) == {f"{m.replace('/', '-')}-seed{s}" for m in METHODS for s in (0, 1)}
    for row in cells(finished).values():
        assert [sum(line) for line in row["confusion"]] == [3, 3, 3]
        assert list(row["per_class"]) == list(COLOURS)
        assert ("fd_tinynet" in row) == (row["method"] != "none")


def test_methods_of_a_seed_share_everything_but_the_method(finished: Path) -> None:
    for seed in (0, 1):
        manifests = [
            json.loads((finished / "datasets" / f"{slug}-seed{seed}" / "dataset.json").read_text(encoding="utf-8"))
            for slug in ("fix-0", "fix-chm")
        ]
        configs = [manifest["config"] for manifest in manifests]
        assert [config.pop("method") for config in configs] == ["fix/0", "fix/chm"]
        assert configs[0] == configs[1]
        assert configs[0]["seed"] == seed


def test_seeds_have_few_shot_sets_of_their_own(finished: Path) -> None:
    sets = [
        {
            shot["sha256"]
            for shot in json.loads((finished / "datasets" / f"fix-0-seed{seed}" / "dataset.json").read_text())[
                "few_shot"
            ]
        }
        for seed in (0, 1)
    ]
    assert sets[0] != sets[1]


def test_latents_are_inverted_once(finished: Path) -> None:
    """A latent for each image in either seed's few-shot set, whatever the number of methods."""
    images = {
        (shot["sha256"])
        for path in finished.glob("datasets/*/dataset.json")
        for shot in json.loads(path.read_text(encoding="utf-8"))["few_shot"]
    }
    assert len(list((finished / "bank").glob("*.safetensors"))) == len(images)


def test_results_csv_is_the_cells(finished: Path) -> None:
    frame = pd.read_csv(finished / "results.csv")
    found = {(r["method"], r["seed"]): r["top1"] for r in frame.to_dict("records")}
    assert found == {(r["method"], r["seed"]): pytest.approx(r["top1"]) for r in cells(finished).values()}
    assert {"seconds_train", "seconds_test", "seconds_invert", "seconds_synthesize", "fd_tinynet"} <= set(frame.columns)


def test_the_page_needs_nothing_but_itself(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href|action|data)\s*=\s*["']?([^"'\s>]+)""", page)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"https?://|//cdn|@import|url\(|<script[^>]+src|<link", page)


def test_the_page_shows_every_method_with_its_images(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    for method in METHODS:
        assert f"<td><code>{method}</code></td>" in page
    for title in ("Accuracy", "Real", "fix/0", "fix/chm"):
        assert f'<img alt="{title}"' in page
    for name in COLOURS:
        assert f"<td>{name}</td>" in page
    assert "fd_tinynet" in page
    assert "<h2>What mean adjustment changes</h2>" in page
    assert "nan" not in re.sub(r"base64,[^\"]+", "", page).lower()


def test_the_markdown_says_the_same(finished: Path) -> None:
    text = (finished / "report.md").read_text(encoding="utf-8")
    page = (finished / "report.html").read_text(encoding="utf-8")
    for method in METHODS:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{method}` |") and line.count("|") == 8]
        for value in row.split("|")[2:4]:
            assert value.strip() in page
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) >= 4
    assert all((finished / picture).is_file() for picture in pictures)


def test_markdown_tables_are_whole(finished: Path) -> None:
    """Every row follows its head without a blank line, with as many cells: else no viewer shows a table."""
    lines = (finished / "report.md").read_text(encoding="utf-8").splitlines()
    rules = [n for n, line in enumerate(lines) if re.fullmatch(r"\|( -+:? \|)+", line)]
    assert len(rules) == 3
    for n in rules:
        columns = lines[n].count("|")
        assert lines[n - 1].count("|") == columns
        assert lines[n + 1].count("|") == columns
    classes = [line for line in lines if any(line.startswith(f"| {name} |") for name in COLOURS)]
    assert len(classes) == 3
    start = lines.index(classes[0])
    assert lines[start : start + 3] == classes


def test_a_second_run_repeats_no_cell(config: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr("classify.study.fit_and_test", never)
    monkeypatch.setattr("classify.study.synthesize", never)
    kept = ("cells/", "datasets/", "bank/", "study.json")
    before = {name: when for name, when in mtimes(copy).items() if name.startswith(kept)}
    run(config, copy)
    assert {name: when for name, when in mtimes(copy).items() if name.startswith(kept)} == before


def test_a_lost_cell_comes_out_the_same(config: Path, copy: Path) -> None:
    before, times, shards = cells(copy), mtimes(copy / "cells"), sha256s(copy / "datasets" / "fix-chm-seed1")
    (copy / "cells" / "fix-chm-seed1.json").unlink()
    shutil.rmtree(copy / "datasets" / "fix-chm-seed1")
    run(config, copy)
    after = cells(copy)
    for name, row in before.items():
        assert after[name] | {"seconds": 0} == row | {"seconds": 0}
    assert sha256s(copy / "datasets" / "fix-chm-seed1") == shards
    assert {n: t for n, t in mtimes(copy / "cells").items() if "chm-seed1" not in n} == {
        n: t for n, t in times.items() if "chm-seed1" not in n
    }


def test_a_study_killed_before_it_noted_the_time_goes_on(config: Path, copy: Path) -> None:
    """All shards of a cell are there, but the run that made the last one did not live to say how long it took."""
    before = cells(copy)["fix-chm-seed1"]
    (copy / "cells" / "fix-chm-seed1.json").unlink()
    (copy / "datasets" / "fix-chm-seed1" / "run.json").unlink()
    run(config, copy)
    assert cells(copy)["fix-chm-seed1"] | {"seconds": 0} == before | {"seconds": 0}


def test_methods_and_seeds_may_be_added(config: Path, copy: Path) -> None:
    before = mtimes(copy / "cells")
    run(config, copy, "--methods", '["none", "fix/0", "fix/chm", "nin/chm"]', "--seeds", "2")
    assert set(cells(copy)) - {name.removesuffix(".json") for name in before} == {"nin-chm-seed0", "nin-chm-seed1"}
    assert {name: when for name, when in mtimes(copy / "cells").items() if name in before} == before
    assert "<td><code>nin/chm</code></td>" in (copy / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--steps", "4", "(steps: 3 there, 4 here)"),
        ("--shots", "2", "(shots: 3 there, 2 here)"),
        ("--plan.per_class", "5", "(plan.per_class: 4 there, 5 here)"),
        ("--batches.synthetic_fraction", "0.25", "(batches.synthetic_fraction: 0.5 there, 0.25 here)"),
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


def test_only_the_baseline(config: Path, tmp_path: Path) -> None:
    folder = run(config, tmp_path / "none", "--methods", '["none"]', "--seeds", "1")
    assert set(cells(folder)) == {"none-seed0"}
    assert not (folder / "datasets").exists()
    assert "<td><code>none</code></td>" in (folder / "report.html").read_text(encoding="utf-8")


def test_an_extractor_that_is_not_there(config: Path, tmp_path: Path, fails: Fails) -> None:
    args = ["study", "--config", str(config), "--output", str(tmp_path / "out"), "--extractor", "no_such_model"]
    error = fails(main, args, 1)
    assert "extractor: 'no_such_model' cannot be loaded" in error
    assert "Traceback" not in error
