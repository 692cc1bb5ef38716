"""`augment invert --check`: its figures, on noise with known statistics and through the command."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_families import save_pixel

import augment.inversion.compare
import augment.inversion.inversion
from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.start import Noise
from augment.cli import main
from augment.inversion.compare import applicable, class_correlation, load_lpips, measure
from augment.inversion.inversion import Inversion


@pytest.fixture
def backbone(model_folder: Path) -> StableDiffusion:
    return StableDiffusion(str(model_folder))


def names(ways: list[Inversion]) -> list[tuple[str, int, float]]:
    return [(way.kind, way.steps, way.guidance) for way in ways]


def test_every_way_that_makes_sense(backbone: StableDiffusion, tmp_path: Path) -> None:
    assert names(applicable(backbone, Inversion(), 3.0, [5])) == [
        ("ddim", 5, 1.0),
        ("ddim", 5, 3.0),
        ("fixed-point", 5, 1.0),
        ("fixed-point", 5, 3.0),
        ("null-text", 5, 3.0),
        ("negative-prompt", 5, 3.0),
    ]
    assert names(applicable(backbone, Inversion(), 1.0, [5, 9])) == [
        ("ddim", 5, 1.0),
        ("fixed-point", 5, 1.0),
        ("ddim", 9, 1.0),
        ("fixed-point", 9, 1.0),
    ]
    assert "null-text" not in [way.kind for way in applicable(backbone, Inversion(precision="bf16"), 3.0, [5])]
    pixel = PixelDiffusion(str(save_pixel(tmp_path / "pixel")))
    assert names(applicable(pixel, Inversion(), 1.0, [2])) == [("ddim", 2, 1.0), ("fixed-point", 2, 1.0)]


@torch.no_grad()
def test_figures_of_known_noise(backbone: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of scale 2 with a bias of 0.5 in one of four channels, and a perfect way back."""
    count = 40
    generator = torch.Generator().manual_seed(0)
    noise = 2 * torch.randn(count, 4, 64, 64, generator=generator)
    noise[:, 1] += 0.5
    images = torch.rand(count, 3, 16, 16, generator=generator) * 2 - 1
    parts = iter(torch.split(noise, 16))
    backs = iter(torch.split(images, 16))

    def known(*_: Any) -> Noise:
        part = next(parts)
        backbone.evaluations += 7 * len(part)
        return Noise(part, torch.full((len(part),), 0.25))

    monkeypatch.setattr(augment.inversion.inversion, "invert_latents", known)
    monkeypatch.setattr(
        augment.inversion.inversion, "go_back", lambda *_: next(backs) + 0.2
    )  # an error of 0.2 in a range of 2
    monkeypatch.setattr(backbone, "encode", lambda x: x)
    monkeypatch.setattr(backbone, "decode", lambda z: z)
    trial, back, alone = measure(backbone, Inversion(), images, [""] * count, lambda a, b: float((a - b).sum()))
    assert trial.psnr == pytest.approx(20.0, abs=1e-3)
    assert trial.norm == pytest.approx((4 + 0.25 / 4) ** 0.5, rel=0.01)
    assert trial.channel_mean == pytest.approx(0.125, abs=0.01)
    assert trial.largest_channel_mean == pytest.approx(0.5, abs=0.02)
    assert (trial.normal, trial.residual, trial.evaluations) == (0.0, 0.25, 7)
    assert trial.lpips == pytest.approx(0.2 * 3 * 16 * 16, rel=1e-3)
    assert torch.equal(back, images + 0.2)
    assert torch.equal(alone, images) and trial.floor == float("inf")


def test_correlation_is_of_latents_of_one_class() -> None:
    common = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    own = torch.randn(6, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    labels = [0, 0, 0, 1, 1, 7]  # a class of one image has no pair
    latents = own + torch.stack([common[min(label, 1)] for label in labels])
    assert class_correlation(latents, labels) == pytest.approx(0.5, abs=0.02)
    assert class_correlation(own, labels) == pytest.approx(0, abs=0.02)
    assert math.isnan(class_correlation(own[:2], [0, 1]))


@torch.no_grad()
def test_true_noise_passes_for_normal(backbone: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.randn(16, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(augment.inversion.inversion, "invert_latents", lambda *_: Noise(noise, torch.zeros(16)))
    trial, _, _ = measure(backbone, Inversion(steps=2), torch.zeros(16, 3, 16, 16), ["x"] * 16, None)
    assert trial.normal > 0.8
    assert trial.norm == pytest.approx(1, abs=0.03)
    assert trial.lpips is None


def test_lpips_is_left_out_where_its_weights_are_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(augment.inversion.compare, "LearnedPerceptualImagePatchSimilarity", offline)
    assert load_lpips(torch.device("cpu")) is None


def test_check_through_the_command(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(augment.inversion.compare, "load_lpips", lambda _: None)
    options = ("--model.guidance", "4", "--check", "--check_steps", "[2, 3]", "--model.inversion.batch_size", "4")
    main(["invert", *job.args(tmp_path / "out", *options)])
    with (tmp_path / "out" / "inversions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    noisier = [row for row in rows if row["forward_steps"] != "0"]
    assert [(row["steps"], row["forward_steps"], row["evaluations"]) for row in noisier] == [
        ("2", "1", "1.0"),
        ("2", "2", "0.0"),
        ("3", "1", "2.0"),
        ("3", "2", "1.0"),
        ("3", "3", "0.0"),
    ]
    assert all(row["inversion"] == "ddim" and abs(float(row["correlation"])) < 1 for row in rows if row in noisier)
    rows = [row for row in rows if row not in noisier]
    assert len(rows) == 12
    by_name = {(row["inversion"], row["steps"], row["guidance"]): row for row in rows}
    assert float(by_name["ddim", "3", "1.0"]["evaluations"]) == 3
    assert float(by_name["ddim", "3", "4.0"]["evaluations"]) == 6
    assert float(by_name["negative-prompt", "3", "4.0"]["evaluations"]) == 3
    assert float(by_name["null-text", "2", "4.0"]["evaluations"]) > 2 + 2 * 2 * 2
    assert float(by_name["fixed-point", "3", "1.0"]["evaluations"]) > 3
    assert float(by_name["fixed-point", "3", "1.0"]["residual"]) > 0 == float(by_name["ddim", "3", "1.0"]["residual"])
    assert len({row["floor"] for row in rows}) == 1
    assert {row["lpips"] for row in rows} == {""}
    printed = capsys.readouterr().out
    assert "negative-prompt" in printed
    assert "LPIPS is left out: the weights" in printed
    with Image.open(tmp_path / "out" / "inversions.png") as picture:
        assert picture.height > picture.width / 3  # 19 rows of 9 images
    assert not list(tmp_path.rglob("*.safetensors"))
