"""What `preview.png` shows: the real images and the first synthetic ones, each in its place."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, sha256s
from PIL import Image

from augment.dataset import preview
from augment.dataset.preview import CELL, FRAME, GAP, LINE, NAME, WIDE_GAP, fitted, write_preview
from augment.dataset.reader import read_shard
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageFolder


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "set"))


def cell(sheet: Image.Image, row: int, left: int) -> Image.Image:
    top = LINE + row * (CELL + GAP)
    return sheet.crop((left, top, left + CELL, top + CELL))


def test_every_image_in_its_place(copy: Path, train_folder: Path) -> None:
    shards = sha256s(copy)
    source = ImageFolder(train_folder)
    few_shot = choose_few_shot_set(source, 3, 0)
    sheet = Image.open(write_preview(copy, source, few_shot))
    made = {key: image for path in copy.glob("*.tar") for key, image, _ in read_shard(path)}
    start = NAME + 3 * (CELL + GAP) + WIDE_GAP
    for label in range(len(COLOURS)):
        for n, shot in enumerate(few_shot.shots[label]):
            found = cell(sheet, label, NAME + n * (CELL + GAP))
            assert found.getpixel((0, 0)) == tuple(bytes.fromhex(FRAME[1:]))
            expected = preview.square(source.image(shot), CELL - 4)
            assert np.array_equal(np.asarray(found.crop((2, 2, CELL - 2, CELL - 2))), np.asarray(expected))
        for n in range(4):
            expected = preview.square(made[f"{label:04d}_{n:06d}"], CELL)
            assert np.array_equal(np.asarray(cell(sheet, label, start + n * (CELL + GAP))), np.asarray(expected))
    assert sha256s(copy) == shards


def test_more_classes_than_fit_are_counted(copy: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageFolder(train_folder)
    few_shot = choose_few_shot_set(source, 3, 0)
    monkeypatch.setattr(preview, "MOST_CLASSES", 2)
    sheet = Image.open(write_preview(copy, source, few_shot))
    assert sheet.height == 2 * LINE + 2 * (CELL + GAP)


def test_a_real_image_that_is_gone_leaves_the_others(copy: Path, train_folder: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(train_folder, tmp_path / "images"))
    few_shot = choose_few_shot_set(ImageFolder(images), 3, 0)
    (images / few_shot.all[0].name).unlink()
    sheet = Image.open(write_preview(copy, ImageFolder(images), few_shot))
    assert sheet.getpixel((NAME, LINE)) == (255, 255, 255)
    assert sheet.getpixel((NAME + CELL + GAP, LINE)) != (255, 255, 255)


def test_a_long_name_is_cut() -> None:
    from matplotlib import get_data_path
    from PIL import ImageFont

    font = ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 14)
    assert fitted("rød", font) == "rød"
    assert fitted("a very\nlong name of some class", font).endswith("…")
    assert font.getlength(fitted("W" * 400, font)) <= NAME
