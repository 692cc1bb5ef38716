"""Training curves arrive at the logger that was asked for, as its own readers read them."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import SIDE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from augment.runtime import loggers as curves
from classify.cli import main

CURVES = ["loss", "lr", "test_ece", "test_log_loss", "test_macro", "test_top1"]


def fit(output: Path, train: Path, test: Path, *more: str) -> list[str]:
    return [
        *("fit", "--output", str(output), "--model.name", "test_resnet", "--model.warmup_steps", "2"),
        *("--data.source", "augment.images.sources.ImageFolder", "--data.source.path", str(train)),
        *("--data.source.test_path", str(test), "--data.shots", "3", "--data.batches.batch_size", "6"),
        *("--data.batches.image_size", str(SIDE), "--trainer.max_steps", "6", "--trainer.log_every_n_steps", "2"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *more,
    ]


def results(output: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((output / "results.json").read_text(encoding="utf-8"))
    return found


def test_curves_are_a_table_unless_told_otherwise(train_folder: Path, test_folder: Path, tmp_path: Path) -> None:
    main(fit(tmp_path / "out", train_folder, test_folder))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"classifier", "curves", "fit.json", "results.json"}
    table = pd.read_csv(tmp_path / "out" / "curves" / "metrics.csv")
    assert sorted(set(table.columns) - {"epoch", "step"}) == CURVES
    training = table[table["loss"].notna()]
    assert list(training["step"]) == [1, 3, 5]
    assert training["lr"].iloc[-1] < training["lr"].max() <= 1e-3
    assert table["test_top1"].dropna().item() == pytest.approx(results(tmp_path / "out")["top1"])


def test_tensorboard_reads_the_same_curves(train_folder: Path, test_folder: Path, tmp_path: Path) -> None:
    main(fit(tmp_path / "table", train_folder, test_folder))
    main(fit(tmp_path / "board", train_folder, test_folder, "--logger", "tensorboard"))
    table = pd.read_csv(tmp_path / "table" / "curves" / "metrics.csv")
    board = EventAccumulator(str(tmp_path / "board" / "curves"))
    board.Reload()
    assert sorted(set(board.Tags()["scalars"]) - {"epoch"}) == CURVES
    for name in CURVES:
        assert [event.value for event in board.Scalars(name)] == pytest.approx(table[name].dropna().to_list())


def test_none_leaves_no_curves_and_lightnings_own_option_wins(
    train_folder: Path, test_folder: Path, tmp_path: Path
) -> None:
    main(fit(tmp_path / "none", train_folder, test_folder, "--logger", "none"))
    assert {path.name for path in (tmp_path / "none").iterdir()} == {"classifier", "fit.json", "results.json"}
    own = ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", str(tmp_path / "mine"))
    main(fit(tmp_path / "own", train_folder, test_folder, *own))
    assert not (tmp_path / "own" / "curves").exists()
    assert list((tmp_path / "mine").rglob("metrics.csv"))


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_logger_whose_package_lacks_is_named(
    kind: str,
    train_folder: Path,
    test_folder: Path,
    tmp_path: Path,
    fails: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    error = fails(main, fit(tmp_path / "out", train_folder, test_folder, "--logger", kind), 1)
    assert f"logger: '{kind}' needs a package that is not installed; run pip install {kind}, or choose csv" in error
    assert not (tmp_path / "out").exists()
