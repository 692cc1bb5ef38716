import re
from pathlib import Path

import pytest
from conftest import Job


def test_images_rate_and_time_left_are_shown(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job.synthesize(tmp_path / "out")
    error = capsys.readouterr().err
    for label, count in (("invert", 9), ("synthesize", 12)):
        assert re.search(rf"{label} .*{count}/{count} +[\d.]+ images/s +[\d:]+ left", error), error


def test_a_resumed_run_counts_what_is_left(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job.synthesize(tmp_path / "out")
    (tmp_path / "out" / "train-000001.tar").unlink()
    capsys.readouterr()
    job.synthesize(tmp_path / "out")
    error = capsys.readouterr().err
    assert re.search(r"synthesize .*4/4 ", error)
    assert "invert" not in error
