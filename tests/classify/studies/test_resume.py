"""A study that was stopped, killed, spread or enlarged goes on, and comes out the same."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import mtimes, sha256s, start_program
from small_study import ROWS, cells, run, same, slugs

from classify.cli import main
from classify.studies.grid import Cell
from classify.studies.runner import Runner

Fails = Callable[..., str]


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


def test_a_set_whose_note_lacks_its_seconds_is_measured_anew(config: Path, copy: Path) -> None:
    before = cells(copy)
    (copy / "cells" / "fix-chm-vit-shots3-seed1.json").unlink()
    note = copy / "sets" / "fix-chm-shots3-seed1.json"
    whole = json.loads(note.read_text())
    note.write_text(json.dumps({"latents": whole["latents"]}))
    run(config, copy)
    assert json.loads(note.read_text()) | {"seconds": 0, "cost": 0} == whole | {"seconds": 0, "cost": 0}
    same(before, cells(copy))


def test_a_study_makes_damaged_shards_anew(config: Path, copy: Path) -> None:
    """One set has a torn shard, one a shard of another set, one lacks a shard; each has a cell to be run."""
    before, notes = cells(copy), {path.name: path.read_text() for path in copy.glob("sets/*.json")}
    sets = {
        name: copy / "datasets" / name for name in ("fix-chm-shots3-seed1", "fix-0-shots3-seed1", "fix-0-shots3-seed0")
    }
    shards = {name: sha256s(folder) for name, folder in sets.items()}
    torn, swapped, lost = (folder / "train-000001.tar" for folder in sets.values())
    torn.write_bytes(torn.read_bytes()[:700])
    shutil.copy(lost, swapped)
    lost.unlink()
    for cell in ("fix-chm-vit-shots3-seed1", "fix-0-vit-shots3-seed1", "fix-0-vit-shots3-seed0"):
        (copy / "cells" / f"{cell}.json").unlink()
    run(config, copy)
    assert {name: sha256s(folder) for name, folder in sets.items()} == shards
    same(before, cells(copy))
    assert {path.name: path.read_text() for path in copy.glob("sets/*.json")} == notes


def test_a_set_in_the_place_of_another_is_never_trained_on(config: Path, copy: Path, fails: Fails) -> None:
    """Whole and unaltered, but of another seed."""
    shutil.rmtree(copy / "datasets" / "fix-chm-shots3-seed1")
    shutil.copytree(copy / "datasets" / "fix-chm-shots3-seed0", copy / "datasets" / "fix-chm-shots3-seed1")
    (copy / "cells" / "fix-chm-vit-shots3-seed1.json").unlink()
    error = fails(main, ["study", "--config", str(config), "--output", str(copy)], 1)
    assert re.search(r"fix/chm, vit, 3 shots, seed 1: .*holds a dataset of another configuration", error)
    assert not (copy / "cells" / "fix-chm-vit-shots3-seed1.json").exists()


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
