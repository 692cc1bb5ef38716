"""Fractals: functions of their random numbers alone, from systems that have an attractor, or from a folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import paint

from augment.errors import UserError
from augment.mix.draws import Draws
from augment.mix.fractal import SHRINK, draw_system, folder_identity, fractal, from_folder, images_in, painted, turns


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_fractal_is_a_function_of_its_image() -> None:
    first = fractal(Draws(0, 1, 2).pattern(), 32)
    assert torch.equal(first, fractal(Draws(0, 1, 2).pattern(), 32))
    others = [Draws(1, 1, 2), Draws(0, 2, 2), Draws(0, 1, 3)]
    assert all(not torch.equal(first, fractal(draws.pattern(), 32)) for draws in others)


@pytest.mark.parametrize("seed", range(8))
def test_a_fractal_is_an_image_on_black(seed: int) -> None:
    image = fractal(random(seed), 64)
    assert (image.shape, image.dtype) == ((3, 64, 64), torch.float32)
    assert float(image.min()) == -1 and float(image.max()) <= 1
    lit = (image > -1).any(0)
    assert 0.005 < float(lit.float().mean()) < 0.9
    rows, columns = lit.any(1), lit.any(0)
    assert all(bool(edge) for edge in (rows[0], rows[-1], columns[0], columns[-1]))  # it fills the frame


@pytest.mark.parametrize("seed", range(20))
def test_every_map_brings_points_together(seed: int) -> None:
    matrices, shifts, colours = draw_system(random(seed))
    assert 2 <= len(matrices) == len(shifts) == len(colours) <= 5
    factors = np.linalg.svd(matrices, compute_uv=False)
    assert SHRINK[0] - 1e-9 <= factors.min() and factors.max() <= SHRINK[1] + 1e-9
    assert colours.min() >= 0 and colours.max() <= 1


def test_turns_are_rotations() -> None:
    assert np.allclose(turns(np.array([np.pi / 2])) @ np.array([1.0, 0.0]), [[0.0, 1.0]])


def test_points_are_painted_where_they_lie() -> None:
    """Corners and a middle of a 3 x 3 image; two points in one pixel are its brightest, in their mean colour."""
    points = np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 2.0], [1.0, 0.0]])
    red, green = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    image = painted(points, np.array([red, green, green, red]), 3)
    single = 2 * np.log(2) / np.log(3) - 1
    expected = torch.full((3, 3, 3), -1.0)
    expected[:, 0, 0] = torch.tensor([0.0, 0.0, -1.0])
    expected[1, 2, 2] = expected[0, 1, 0] = single
    assert torch.allclose(image, expected)


def test_a_single_point_has_a_frame_too() -> None:
    assert torch.isfinite(painted(np.zeros((4, 2)), np.ones((4, 3)), 5)).all()


def test_images_of_a_folder_are_chosen_by_the_image(tmp_path: Path) -> None:
    for n, colour in enumerate([(250, 10, 10), (10, 250, 10)]):
        paint(tmp_path / "more" / f"{n}.png", colour, n)
    (tmp_path / "readme.txt").write_text("no image")
    assert [path.name for path in images_in(str(tmp_path))] == ["0.png", "1.png"]
    drawn = [from_folder(Draws(0, 0, n).pattern(), str(tmp_path), 16) for n in range(12)]
    assert {image.shape for image in drawn} == {(3, 16, 16)}
    brightest = {int(image.mean((1, 2)).argmax()) for image in drawn}
    assert brightest == {0, 1}
    assert torch.equal(drawn[3], from_folder(Draws(0, 0, 3).pattern(), str(tmp_path), 16))


def test_a_folder_is_known_by_its_images(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        paint(tmp_path / name / "set" / "0.png", (9, 9, 9) if name == "c" else (99, 9, 9), 0)
    a, b, c = (folder_identity(str(tmp_path / name / "set")) for name in ("a", "b", "c"))
    assert a == b != c
    assert a.startswith("set@")


def test_what_is_no_folder_of_images_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"settings.fractals: .* holds no images; give a folder of images, or leave"):
        images_in(str(tmp_path))
    with pytest.raises(UserError, match=r"settings.fractals: there is no folder '/nowhere'"):
        images_in("/nowhere")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"image 'bad.png': cannot be read"):
        from_folder(random(0), str(tmp_path), 8)
