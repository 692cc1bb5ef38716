"""Several processes at the cells of a study."""

import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import Mortal, Sleeper

from augment.backbones.stable_diffusion import StableDiffusion
from augment.mix.draws import Mixing
from augment.synthesis.plan import Plan
from augment.synthesis.synthesizer import Synthesizer
from classify.studies.grid import make_groups
from classify.studies.rows import make_contenders, make_rows
from classify.studies.runner import Event
from classify.studies.workers import accelerators, run_groups
from classify.train.batches import Batches

MODEL = Synthesizer(StableDiffusion("digits"))


@pytest.mark.slow
def test_a_process_that_dies_costs_its_running_cell() -> None:
    rows = make_rows(["none"], [1], Batches(), Mixing(), Plan(), MODEL)
    groups = make_groups(rows, make_contenders({"a": {}, "b": {}, "c": {}}, [1]), 3)
    events: list[Event] = []
    runner: Any = Mortal("none-b-shots1-seed1")
    run_groups(runner, groups, 2, events.append)
    ended = {event.cell.slug: (event.kind, event.text) for event in events if event.kind != "running"}
    assert len(ended) == 9
    assert ended.pop("none-b-shots1-seed1") == ("failed", "its process ended with code -9")
    assert set(ended.values()) == {("done", "")}
    assert len(events) == 18


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_worker_outlives_a_study_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL while a cell runs, which listens to nobody; and no worker ever hears a Ctrl-C of its own."""
    rows = make_rows(["none"], [1], Batches(), Mixing(), Plan(), MODEL)
    groups = make_groups(rows, make_contenders({"a": {}, "b": {}}, [1]), 1)
    runner: Any = Sleeper(tmp_path)
    study = multiprocessing.get_context("fork").Process(target=run_groups, args=(runner, groups, 2, print))
    study.start()
    try:
        wait_until(lambda: len([path for path in tmp_path.iterdir() if path.read_text()]) == 2, 300)
    finally:
        study.kill()
        study.join()
    workers = {int(path.name): path.read_text() for path in tmp_path.iterdir()}
    wait_until(lambda: not any(is_running(pid) for pid in workers), 5)
    assert set(workers.values()) == {"deaf to Ctrl-C"}


def wait_until(ready: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether the process does anything still; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("visible", "expected"), [("2,3", ["2", "3"]), ("", []), ("GPU-abc", ["GPU-abc"])])
def test_accelerators_are_those_that_this_process_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert accelerators() == expected
