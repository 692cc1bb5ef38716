"""What is shown while images are made and cells are run."""

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Job

from classify.studies.runner import Event
from classify.studies.terminal import StudyProgress


def test_images_rate_and_time_left_are_shown(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job.synthesize(tmp_path / "out")
    error = capsys.readouterr().err
    for label, count in (("invert", 9), ("synthesize", 12)):
        assert re.search(rf"{label} .*{count}/{count} +[\d.]+ images/s +[\d:]+ left", error), error


def test_the_bank_is_announced_where_it_is_made(job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job.synthesize(tmp_path / "one", per_class=1)
    (bank,) = (tmp_path / "bank").iterdir()
    assert f"inverting 9 images into '{bank}'" in caplog.text
    caplog.clear()
    job.synthesize(tmp_path / "two", "--method", "fix/0", per_class=1)
    assert "images into" not in caplog.text
    job.synthesize(tmp_path / "three", "--method", "sdedit", per_class=1)
    assert "encoding 9 images into" in caplog.text


def test_a_resumed_run_counts_what_is_left(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job.synthesize(tmp_path / "out")
    (tmp_path / "out" / "train-000001.tar").unlink()
    capsys.readouterr()
    job.synthesize(tmp_path / "out")
    error = capsys.readouterr().err
    assert re.search(r"synthesize .*4/4 ", error)
    assert "invert" not in error


def test_a_cell_that_fails_before_it_began_is_counted() -> None:
    """Its process may die before it says what it is at."""
    cell: Any = "none, resnet, 5 shots, seed 0"
    progress = StudyProgress(2, 0)
    progress.tell(Event("failed", cell, "its process ended with code -9"))
    assert progress.failed == ["none, resnet, 5 shots, seed 0: its process ended with code -9"]
    assert progress.done == 0
