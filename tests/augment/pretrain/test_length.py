"""How long a training is: chosen for a time, told beforehand, lengthened, ended early; an autoencoder used again."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import SIDE, mtimes
from pretraining import LATENT, PIXEL, StoppedError, curve, options, pretrain, same, weights_of

import augment.cli
from augment.errors import UserError
from augment.images.sources import UnlabelledFolder
from augment.pretrain.data import PretrainData
from augment.pretrain.latent import LatentDiffusion
from augment.pretrain.pace import Pace, time_steps
from augment.pretrain.pixel import DDPM

Fails = Callable[..., str]
UNTOLD = ["--trainer.max_steps", "-1"]


def test_a_pace_tells_seconds_and_steps() -> None:
    pace = Pace(switch=100, autoencoder=0.5, denoiser=2.0)
    assert [pace.seconds(0, 50), pace.seconds(0, 110), pace.seconds(90, 110), pace.seconds(105, 110)] == [
        25,
        70,
        25,
        10,
    ]
    assert pace.seconds(0, pace.steps(10)) <= 600 < pace.seconds(0, pace.steps(10) + 1)
    assert Pace(0, 0.0, 0.25).steps(1) == 240
    with pytest.raises(UserError, match=r"minutes: 0\.8 end before .* \(the 100 steps before take about 0\.8 m"):
        pace.steps(0.8)


def test_the_autoencoder_has_a_third_of_the_minutes_at_most() -> None:
    pace = Pace(switch=3000, autoencoder=0.5, denoiser=0.25)
    assert pace.shared(9) == Pace(360, 0.5, 0.25) and pace.shared(9).steps(9) == 360 + 1440
    assert pace.shared(90) == pace
    assert Pace(0, 0.0, 0.25).shared(9) == Pace(0, 0.0, 0.25)


def test_timing_leaves_model_and_random_numbers_alone(train_folder: Path, tmp_path: Path) -> None:
    data = PretrainData(UnlabelledFolder(train_folder), 8, SIDE)
    model = LatentDiffusion(SIDE, 4, (8, 16), (16, 32), autoencoder_steps=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    phases = []

    def trainer(callbacks: list[L.Callback], steps: int) -> L.Trainer:
        class Phase(L.Callback):
            def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
                phases.append((pl_module.objective, trainer.global_step))

        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return L.Trainer(
            accelerator="cpu",
            max_steps=steps,
            max_epochs=-1,
            callbacks=[*callbacks, Phase()],
            default_root_dir=tmp_path,
            enable_model_summary=False,
            **quiet,
        )

    state = torch.get_rng_state()
    pace = time_steps(model, data, trainer)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(model.state_dict(), before)
    assert phases == [("reconstruction", 35), ("epsilon", 35)]
    assert (pace.switch, pace.autoencoder > 0, pace.denoiser > 0) == (3, True, True)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(
    tmp_path: Path, train_folder: Path, capsys: pytest.CaptureFixture[str], fails: Fails
) -> None:
    output = tmp_path / "out"
    pretrain(output, train_folder, PIXEL, "--dry_run", "--trainer.max_steps", "4000")
    out = capsys.readouterr().out
    assert re.search(r"optimizer steps\W+4,000\b", out) and re.search(r"seconds per step, denoiser\W+[\d.e-]+ ", out)
    assert re.search(r"time, without pictures and model card\W+\d+:\d\d:\d\d", out)
    assert not output.exists()
    error = fails(augment.cli.main, options(output, train_folder, PIXEL, "--dry_run", *UNTOLD), 1)
    assert "trainer.max_steps: not given" in error and "or --minutes 30" in error
    error = fails(augment.cli.main, options(output, train_folder, PIXEL, "--minutes", "1"), 1)
    assert "minutes: it and --steps both say when to stop; give one of them" in error


def test_minutes_choose_the_steps_once(
    tmp_path: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("augment.commands.pretrain.time_steps", lambda *_: Pace(0, 0.0, 12.0))
    more = ["--minutes", "1", *UNTOLD]
    pretrain(tmp_path, train_folder, PIXEL, *more)
    assert len(curve(tmp_path)) == 5
    found = json.loads((tmp_path / "pretrain.json").read_text())
    assert (found["minutes"], found["config"]["trainer"]["max_steps"]) == (1.0, 5)
    monkeypatch.setattr("augment.commands.pretrain.time_steps", lambda *_: Pace(0, 0.0, 10.0))
    before = mtimes(tmp_path)
    pretrain(tmp_path, train_folder, PIXEL, *more)
    assert "is finished; nothing to do" in capsys.readouterr().out
    assert mtimes(tmp_path) == before
    pretrain(tmp_path, train_folder, PIXEL, "--minutes", "1.5", *UNTOLD)  # nine steps at the pace of today
    assert [step for step, _ in curve(tmp_path)] == list(range(1, 10))


UNDECIDED = [word for word in LATENT if word not in ("--model.autoencoder_steps", "3")]
"""A latent model that says nothing of its first phase."""


def first_phase(output: Path) -> int:
    found = json.loads((output / "pretrain.json").read_text())
    return int(found["config"]["model"]["init_args"]["autoencoder_steps"])


def test_few_steps_leave_the_autoencoder_a_third_which_a_longer_training_keeps(
    tmp_path: Path, train_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(tmp_path, train_folder, UNDECIDED)
    assert curve(tmp_path) == [(n, "reconstruction" if n <= 2 else "epsilon") for n in range(1, 7)]
    assert first_phase(tmp_path) == 2
    said = f"prompt 'a digit': 15 images at {SIDE} px -> 6 steps, the first 2 for the autoencoder"
    assert said in capsys.readouterr().out
    pretrain(tmp_path, train_folder, UNDECIDED, "--trainer.max_steps", "9")
    assert curve(tmp_path)[2:] == [(n, "epsilon") for n in range(3, 10)]
    assert first_phase(tmp_path) == 2


@pytest.mark.slow
def test_minutes_are_shared_by_two_processes(tmp_path: Path, train_folder: Path) -> None:
    """The first one's pace is that of both."""
    more = ["--minutes", "0.1", "--trainer.devices", "2", *UNTOLD]
    output = tmp_path / "out"
    main = "import sys, augment.cli as cli; cli.main(sys.argv[1:])"
    command = [sys.executable, "-c", main, *options(output, train_folder, UNDECIDED, *more)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("timing a stretch") == done.stdout.count(" for the autoencoder, in ") == 1
    found = json.loads((output / "pretrain.json").read_text())
    steps = found["config"]["trainer"]["max_steps"]
    assert found["minutes"] == 0.1 and 1 <= first_phase(output) < steps
    assert [step for step, _ in curve(output)] == list(range(1, steps + 1))


def test_a_finished_training_is_lengthened(tmp_path: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from its last step, which no checkpoint was due at, on the learning rate of the longer cosine."""
    more = ["--model.warmup_steps", "0", "--model.lr", "0.001", "--trainer.max_steps"]
    first = weights_of(pretrain(tmp_path, train_folder, PIXEL, *more, "5"))
    assert [path.name for path in (tmp_path / "finished").iterdir()] == ["0000005.ckpt"]
    rates: dict[int, float] = {}

    def remember(model: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:
        rates[model.global_step] = model.trainer.optimizers[0].param_groups[0]["lr"]

    with monkeypatch.context() as watched:
        watched.setattr(DDPM, "on_train_batch_end", remember, raising=False)
        second = weights_of(pretrain(tmp_path, train_folder, PIXEL, *more, "10"))
    assert sorted(rates) == [6, 7, 8, 9, 10]
    longer = {step: 0.0005 * (1 + math.cos(math.pi * step / 10)) for step in range(6, 11)}  # of the step after it
    assert rates == pytest.approx(longer, abs=1e-12)
    assert same(weights_of(tmp_path / "model-0000005"), first) and not same(first, second)
    assert [step for step, _ in curve(tmp_path)] == list(range(1, 11))
    assert [path.name for path in (tmp_path / "finished").iterdir()] == ["0000010.ckpt"]
    assert not (tmp_path / "checkpoints").exists()


def test_a_finished_training_without_a_checkpoint_stays(tmp_path: Path, train_folder: Path, fails: Fails) -> None:
    pretrain(tmp_path, train_folder, PIXEL)
    (tmp_path / "finished" / "0000006.ckpt").unlink()
    before = mtimes(tmp_path)
    error = fails(augment.cli.main, options(tmp_path, train_folder, PIXEL, "--trainer.max_steps", "8"), 1)
    assert "is finished after 6 steps and has no checkpoint to go on from; choose another --output" in error
    assert mtimes(tmp_path) == before


def test_a_stopped_training_ends_early(tmp_path: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its last checkpoint is, if the new end lies before it."""

    def stop(model: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:
        if model.global_step == 5:
            raise StoppedError

    with monkeypatch.context() as stopped, pytest.raises(StoppedError):
        stopped.setattr(DDPM, "on_train_batch_end", stop, raising=False)
        pretrain(tmp_path, train_folder, PIXEL)
    model = pretrain(tmp_path, train_folder, PIXEL, "--trainer.max_steps", "3")
    assert all(value.isfinite().all() for value in weights_of(model).values())
    assert [path.name for path in (tmp_path / "finished").iterdir()] == ["0000004.ckpt"]
    assert json.loads((tmp_path / "pretrain.json").read_text())["config"]["trainer"]["max_steps"] == 3


def test_an_autoencoder_is_used_again(tmp_path: Path, train_folder: Path, fails: Fails) -> None:
    first = weights_of(pretrain(tmp_path / "a", train_folder, LATENT))
    more = ["--model.autoencoder", str(tmp_path / "a" / "model"), "--model.denoiser_lr", "0.1"]
    again = weights_of(pretrain(tmp_path / "b", train_folder, LATENT, *more))
    assert all(torch.equal(again[name], value) for name, value in first.items() if name.startswith("vae."))
    assert not same(first, again)
    assert curve(tmp_path / "b") == [(n, "epsilon") for n in range(1, 7)]
    bad = options(tmp_path / "c", train_folder, LATENT, "--model.autoencoder", str(tmp_path / "a"))
    assert "has no autoencoder (no vae/config.json); give the folder of a finished" in fails(augment.cli.main, bad, 1)
