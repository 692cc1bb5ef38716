import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.dataset.reader import read_shard
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageFolder
from classify.report.figures import (
    Panel,
    accuracy_against,
    accuracy_bars,
    accuracy_by_shots,
    differences,
    loss_curves,
    synthetic_grid,
)
from classify.report.statistics import Comparison, Estimate
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
    loss_curves(tmp_path / "loss.png", {"none": [3.0, 2.0, 1.0], "fix/0": [2.0, 1.5, 1.4]}, 120)
    accuracy_by_shots(tmp_path / "shots.png", {name: {1: e, 5: e} for name, e in accuracy.items()})
    for name in ("bars.png", "against.png", "loss.png", "shots.png"):
        pixels = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert pixels.shape[1] > 400
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def grey_share(path: Path) -> float:
    """Share of the picture that the grey band takes."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    band = (abs(pixels - (235, 235, 237)) <= 6).all(2)
    return float(band.mean())


def test_what_could_not_have_been_seen_is_shaded(tmp_path: Path) -> None:
    gains = {f"row {n}": Comparison(Estimate(0.01 * n, 0.01, 3), 0.5, 0.01 if n > 1 else 0.5) for n in (2, 1, -2)}
    shares = []
    for visible in (math.nan, 1.0, 3.0, 50.0):
        differences(tmp_path / "d.png", [Panel("resnet, 5 shots", gains, visible)], 3)
        shares.append(grey_share(tmp_path / "d.png"))
    assert shares[0] < 0.02
    assert 0.1 < shares[1] < shares[2] < shares[3]
    differences(tmp_path / "many.png", [Panel(f"block {n}", gains, 1.0) for n in range(3)], 3)
    one, three = (Image.open(tmp_path / name).size for name in ("d.png", "many.png"))
    assert three[0] == 2 * one[0] and three[1] > 1.8 * one[1]
