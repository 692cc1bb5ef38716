import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.dataset.reader import read_shard
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageFolder
from classify.report.figures import (
    accuracy_against,
    accuracy_bars,
    accuracy_by_shots,
    pareto,
    synthetic_grid,
)
from classify.report.statistics import Estimate
from classify.studies.picture import TILE, grid, real_grid


def tile(sheet: Image.Image, column: int, row: int) -> np.ndarray:
    left, top = column * (TILE + 2), row * (TILE + 2)
    return np.asarray(sheet.crop((left, top, left + TILE, top + TILE)))


def test_grid_places_rows_and_columns() -> None:
    colours = [["red", "green", "blue"], ["black", "white", "yellow"]]
    sheet = grid([[Image.new("RGB", (8, 8), colour) for colour in row] for row in colours])
    assert sheet.size == (3 * TILE + 4, 2 * TILE + 2)
    for y, row in enumerate(colours):
        for x, colour in enumerate(row):
            assert np.array_equal(tile(sheet, x, y), np.asarray(Image.new("RGB", (TILE, TILE), colour)))


def test_synthetic_grid_has_a_column_per_class(dataset: Path) -> None:
    shard = dataset / "train-000000.tar"
    samples = [(record["label"], image.convert("RGB")) for _, image, record in read_shard(shard)]
    sheet = synthetic_grid(shard, rows=1)
    assert sheet.size == (3 * TILE + 4, TILE)
    for label in range(3):
        first = next(image for found, image in samples if found == label)
        assert np.array_equal(tile(sheet, label, 0), np.asarray(first.resize((TILE, TILE), Image.Resampling.NEAREST)))


def test_real_grid_shows_the_few_shot_images(train_folder: Path) -> None:
    source = ImageFolder(train_folder)
    few_shot = choose_few_shot_set(source, 2, 0)
    sheet = real_grid(source, few_shot, rows=5)
    assert sheet.size == (3 * TILE + 4, 2 * TILE + 2)
    expected = source.image(few_shot.shots[1][1]).resize((TILE, TILE), Image.Resampling.NEAREST)
    assert np.array_equal(tile(sheet, 1, 1), np.asarray(expected))


@pytest.mark.parametrize("half", [0.02, math.nan])
def test_charts_are_drawn_with_and_without_intervals(tmp_path: Path, half: float) -> None:
    accuracy = {"none": Estimate(0.8, half, 3), "fix/0": Estimate(0.7, half, 3), "fix/chm": Estimate(0.9, half, 3)}
    accuracy_bars(tmp_path / "bars.png", accuracy, {name: [e.mean] for name, e in accuracy.items()})
    accuracy_against(tmp_path / "against.png", accuracy, {"fix/0": 3.0}, "fd")
    accuracy_against(tmp_path / "cost.png", accuracy, {"none": 1.0, "fix/0": 3.0, "fix/chm": 2.0}, "s", front=True)
    accuracy_by_shots(tmp_path / "shots.png", {name: {1: e, 5: e} for name, e in accuracy.items()})
    for name in ("bars.png", "against.png", "cost.png", "shots.png"):
        pixels = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert pixels.shape[1] > 400
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_the_pareto_front_holds_what_nothing_beats() -> None:
    points = {
        "dear": (9.0, 0.9),
        "cheap": (1.0, 0.5),
        "dominated": (5.0, 0.4),
        "middle": (5.0, 0.7),
        "worst": (9.0, 0.1),
    }
    assert pareto(points) == ["cheap", "middle", "dear"]
    for name, (cost, gain) in points.items():
        beaten = any((c <= cost and g >= gain and (c, g) != (cost, gain)) for c, g in points.values())
        assert beaten == (name not in pareto(points))
