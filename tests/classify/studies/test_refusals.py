"""What a study refuses, and that nothing but the final tests sees the test images."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SIDE, mtimes
from PIL import Image

from augment.images.sources import ImageFolder, ImageSource, Item
from classify.cli import main
from classify.studies.grid import Group
from classify.studies.runner import Runner

Fails = Callable[..., str]


def test_a_set_of_other_mixing_is_never_taken_for_this_one(config: Path, copy: Path, fails: Fails) -> None:
    """A row of another name, so that only the study's own settings can tell the two sets apart."""
    rows = '[{"name": "renamed", "method": "fix/0"}]'
    args = ["study", "--config", str(config), "--output", str(copy), "--methods", rows, "--reference", "renamed"]
    error = fails(main, [*args, "--mixing.sources", "2"], 1)
    assert "holds a study of another configuration (mixing.sources: None there, 2 here)" in error


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


def test_a_folder_of_something_else_is_never_written_to(config: Path, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    error = fails(main, ["study", "--config", str(config), "--output", str(tmp_path)], 1)
    assert error == f"classify study: output: '{tmp_path}' is not empty and holds no study; choose another --output\n"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_study_never_writes_among_its_images(config: Path, train_folder: Path, fails: Fails) -> None:
    before = mtimes(train_folder)
    error = fails(main, ["study", "--config", str(config), "--output", str(train_folder / "out")], 1)
    assert f"output: '{train_folder / 'out'}' lies in '{train_folder}', where the real images are read from" in error
    assert mtimes(train_folder) == before


def test_a_study_that_runs_already_is_not_run_twice(
    config: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has it; as soon as that is dead the study may be run, whatever it left."""
    args = ["study", "--config", str(config), "--output", str(tmp_path)]  # an empty folder is fine
    monkeypatch.setattr("classify.studies.study.run", lambda runner: [])
    monkeypatch.setattr("classify.commands.study.write_report", lambda folder: None)
    code = "import sys, filelock\nlock = filelock.FileLock(sys.argv[1]); lock.acquire()\nprint('held', flush=True)\n"
    code += "sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        error = fails(main, args, 1)
        problem = f"output: the study in '{tmp_path}' is being run by another process"
        assert error == f"classify study: {problem}; wait for its end, or stop it and run this command again\n"
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        holder.kill()
    main(args)
    assert (tmp_path / "study.json").is_file()
    main(args)


def test_a_cell_of_another_study_is_refused(config: Path, copy: Path, fails: Fails) -> None:
    path = copy / "cells" / "none-vit-shots3-seed0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "0"}))
    error = fails(main, ["study", "--config", str(config), "--output", str(copy)], 1)
    assert f"output: '{path}' belongs to another study" in error


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
