"""What a long run says of itself: on a terminal a bar, in a log a line now and then."""

import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from augment.runtime import progress
from augment.runtime.progress import Meter, clock
from augment.runtime.step_bar import StepProgress


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(progress.time, "monotonic", fake)
    return fake


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_log_has_a_line_after_half_a_minute(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("synthesize", 1000, "images") as meter:
        for _ in range(20):
            time.now += 4.0
            meter.advance(2)
    assert lines_of(capsys) == [
        "synthesize  2 %  16/1000  0.5 images/s  0:32:48 left",
        "synthesize  3 %  32/1000  0.5 images/s  0:32:16 left",
        "synthesize  4 %  40/1000  0.5 images/s  0:32:00 left",
    ]


def test_a_log_has_a_line_after_a_tenth_but_not_more_than_one_in_five_seconds(
    time: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Meter("fit", 100, "steps") as meter:
        for _ in range(100):
            time.now += 0.25
            meter.describe(note="loss 0.1")
            meter.advance()
    shown = [re.search(r"(\d+)/100  4\.0 steps/s  (\S+) left  loss 0\.1$", line) for line in lines_of(capsys)]
    assert [match and match.groups() for match in shown] == [
        ("20", "0:00:20"),
        ("40", "0:00:15"),
        ("60", "0:00:10"),
        ("80", "0:00:05"),
        ("100", "0:00:00"),
    ]


def test_work_that_was_done_before_is_counted_and_not_timed(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("study", 40, "cells", done=30, rate=False) as meter:
        time.now += 60
        meter.advance()
        time.now += 60
        meter.advance()
    assert lines_of(capsys) == [
        "study  78 %  31/40 cells  0:01:00 gone,  0:09:00 left",
        "study  80 %  32/40 cells  0:02:00 gone,  0:08:00 left",
    ]


def test_nothing_is_said_twice_and_a_slow_rate_is_no_zero(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("invert", 1, "images") as meter:
        time.now += 80
        meter.advance()
    assert lines_of(capsys) == ["invert  100 %  1/1  0.013 images/s  0:00:00 left"]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Meter("synthesize", 4, "images") as meter:
        meter.advance(4)
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"synthesize ━+ 4/4  [\d.]+ images/s +0:00:00 left", plain), plain


def test_hours_are_told() -> None:
    assert [clock(seconds) for seconds in (0.4, 61.0, 36_000.0, 100_000.0)] == [
        "0:00:00",
        "0:01:01",
        "10:00:00",
        "1 day, 3:46:40",
    ]


class Line(L.LightningModule):
    """A training of one number, two batches to a step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = (self.weight * batch).square().mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)

    def train_dataloader(self) -> DataLoader[torch.Tensor]:
        return DataLoader(torch.ones(6, 1), batch_size=1)  # type: ignore[arg-type]


def train(tmp_path: Path, **limits: Any) -> None:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = L.Trainer(
        accelerator="cpu",
        accumulate_grad_batches=2,
        callbacks=[StepProgress("fit")],
        default_root_dir=tmp_path,
        **quiet,
        **limits,
    )
    trainer.fit(Line())


@pytest.mark.parametrize("limits", [{"max_steps": 7, "max_epochs": -1}, {"max_epochs": 3}])
def test_a_training_counts_its_steps(
    limits: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, **limits)
    steps = limits.get("max_steps", 9)
    assert re.search(
        rf"^fit  100 %  {steps}/{steps}  [\d.]+ steps/s  0:00:00 left  loss \d", capsys.readouterr().err, re.M
    )


def test_a_training_without_an_end_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, max_time={"seconds": 1}, max_epochs=-1)
    assert "fit" not in capsys.readouterr().err
