import os
import socket
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import timm
import torch
from conftest import SIDE
from PIL import Image
from timm.data import resolve_data_config

from augment.errors import UserError
from classify.metrics import FrechetDistance, TimmFeatures, metric_name


def images(count: int, seed: int, shift: int = 0) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [
        Image.fromarray(np.clip(random.integers(0, 200, (SIDE, SIDE, 3)) + shift, 0, 255).astype(np.uint8))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def extractor(extractor_folder: Path) -> str:
    return f"local-dir:{extractor_folder}"


def features(extractor: str, pictures: list[Image.Image]) -> np.ndarray:
    """What the extractor's own preprocessing and pooled features make of the images, [M, D]."""
    network = timm.create_model(extractor, pretrained=True, num_classes=0).eval()
    config = resolve_data_config({}, model=network)
    pixels = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures]) / 255
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        return network((pixels - mean) / std).double().numpy()


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), in float64 (Heusel et al. 2017)."""
    s1, s2 = (np.cov(x, rowvar=False) for x in (first, second))
    values, vectors = scipy.linalg.eigh(s1)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    cross = np.sqrt(np.clip(scipy.linalg.eigvalsh(root @ s2 @ root), 0, None)).sum()
    difference = first.mean(0) - second.mean(0)
    return float(difference @ difference + np.trace(s1) + np.trace(s2) - 2 * cross)


def test_distance_is_the_formula_on_the_same_features(extractor: str) -> None:
    real, made = images(150, 0), images(130, 1, shift=40)
    distance = FrechetDistance(extractor, None, SIDE)
    distance.set_real(iter(real))
    expected = frechet(features(extractor, real), features(extractor, made))
    assert distance.to_synthetic(iter(made)) == pytest.approx(expected, rel=1e-2)
    assert expected > 0


def test_a_set_is_at_no_distance_from_itself_and_shifted_sets_are_farther(extractor: str) -> None:
    distance = FrechetDistance(extractor, None, SIDE)
    distance.set_real(images(100, 0))
    at = [distance.to_synthetic(images(100, 0, shift)) for shift in (0, 20, 50)]
    assert at[0] == pytest.approx(0, abs=0.01 * at[1])
    assert at[0] < at[1] < at[2]


def test_the_real_images_serve_any_number_of_sets(extractor: str) -> None:
    distance = FrechetDistance(extractor, None, SIDE)
    distance.set_real(images(50, 0))
    first = distance.to_synthetic(images(50, 1))
    distance.to_synthetic(images(50, 2, shift=50))
    assert distance.to_synthetic(images(50, 1)) == pytest.approx(first, rel=1e-6)


def test_images_of_other_sizes_are_cropped_as_the_backbone_sees_them(extractor: str) -> None:
    small = images(20, 0)
    wide = [Image.new("RGB", (3 * SIDE, SIDE), "red") for _ in small]
    for picture, frame in zip(small, wide, strict=True):
        frame.paste(picture, (SIDE, 0))
    distance = FrechetDistance(extractor, None, SIDE)
    distance.set_real(small)
    assert distance.to_synthetic(wide) == pytest.approx(distance.to_synthetic(small), abs=1e-6)


def test_features_normalise_as_the_model_was_trained(extractor: str) -> None:
    pictures = images(3, 0)
    pixels = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    module = TimmFeatures(extractor)
    assert module.num_features == features(extractor, pictures).shape[1]
    np.testing.assert_allclose(module(pixels).numpy(), features(extractor, pictures), atol=1e-5)
    # Another size is resized to the model's own.
    assert module(pixels.repeat_interleave(2, -1).repeat_interleave(2, -2)).shape == (3, module.num_features)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_distance(extractor: str, count: int) -> None:
    distance = FrechetDistance(extractor, None, SIDE)
    distance.set_real(images(10, 0))
    with pytest.raises(UserError, match=rf"fd_tinynet: needs two real and two synthetic images, got 10 and {count}"):
        distance.to_synthetic(images(count, 1))


@pytest.mark.parametrize(
    ("extractor_name", "expected"),
    [
        ("inception", "fid"),
        ("digits", "fd_digits"),
        ("resnet50", "fd_resnet50"),
        ("inception_v3", "fd_inception_v3"),
        ("local-dir:/some/where/mine", "fd_mine"),
        ("local-dir:mine", "fd_mine"),
    ],
)
def test_only_inceptions_distance_is_called_fid(extractor_name: str, expected: str) -> None:
    assert metric_name(extractor_name) == expected


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network and no weights kept from before, whatever machine this is."""

    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "name", ["inception", "no_such_model", "local-dir:/no/such/folder", "hf-hub:nobody/nothing", "resnet18.a1_in1k"]
)
def test_an_extractor_that_cannot_be_had_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=rf"extractor: '{name}' cannot be loaded \(.*--extractor digits") as error:
        FrechetDistance(name, None, SIDE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_inception_weights_from_a_file_that_is_missing_or_broken(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "inception.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"extractor: 'inception' cannot be loaded") as error:
        FrechetDistance("inception", str(path), SIDE)
    assert "\n" not in str(error.value)


class Bomb:
    """What a pickle can do to whoever loads it: here, make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_inception_weights_run_no_code(tmp_path: Path) -> None:
    torch.save(Bomb(tmp_path / "exploded"), tmp_path / "inception.pth")
    with pytest.raises(UserError, match=r"extractor: 'inception' cannot be loaded"):
        FrechetDistance("inception", str(tmp_path / "inception.pth"), SIDE)
    assert not (tmp_path / "exploded").exists()
