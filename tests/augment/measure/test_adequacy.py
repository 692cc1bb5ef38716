"""The verdict on a backbone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from augment.backbones.stable_diffusion import StableDiffusion
from augment.errors import UserError
from augment.images.pixels import to_uint8
from augment.images.sources import Digits, ImageFolder
from augment.measure.adequacy import Adequacy, as_images, halves, measure_adequacy, unseen
from augment.measure.extractor import Extractor
from augment.measure.features import image_features
from augment.measure.latents import norms_and_channels, summarize
from augment.measure.metrics import frechet_distance, recognised
from augment.measure.seen_in_training import seen_by_backbone, seen_by_extractor
from augment.runtime.trained_on import TRAINED_ON, write_trained_on
from augment.synthesis.synthesizer import Synthesizer

GOOD = Adequacy("x", 200, 96, 3.5, 3.6, 4.0, 0.98, 0.97)


def test_a_good_backbone_is_said_to_be_one() -> None:
    sentence = GOOD.sentence({"lin/0": 0.6, "nin/0": 0.9, "cog/0": 0.8})
    assert sentence.startswith("The backbone is good enough to compare methods on. fd_x to one half")
    assert (
        "the other half 3.5, the autoencoder's reconstructions of it 3.6, plain noise samples 4 (200 images" in sentence
    )
    assert (
        "98 % of real images, of 97 % of reconstructions, and of 60 % (lin/0) to 90 % (nin/0) of synthetic" in sentence
    )


@pytest.mark.parametrize(
    ("adequacy", "synthetic"),
    [
        (replace(GOOD, noise=35.1), {}),
        (replace(GOOD, reconstructions_recognised=0.4), {}),
        (GOOD, {"a": 0.3, "b": 0.2}),
    ],
)
def test_a_poor_backbone_is_said_to_be_one(adequacy: Adequacy, synthetic: dict[str, float]) -> None:
    assert adequacy.sentence(synthetic).startswith("The backbone is NOT good enough to rank methods")


def test_one_row_that_loses_its_classes_is_no_verdict_on_the_backbone() -> None:
    assert GOOD.verdict({"lin/0": 0.1, "nin/0": 0.9}).startswith("The backbone is good enough")


@pytest.mark.parametrize(("count", "features", "needed"), [(20, 16, 50), (200, 2048, 2049), (96, 96, 97)])
def test_too_few_images_allow_no_praise(count: int, features: int, needed: int) -> None:
    """With fewer images than features the halves' distance is bias, and anything looks near beside it."""
    few = replace(GOOD, count=count, features=features)
    assert few.verdict({}).startswith("Whether the backbone is good enough to rank methods cannot be told")
    assert f"{count} real images are too few for {features} features, {needed} each would do" in few.verdict({})
    assert "NOT good enough" in replace(few, noise=35.1).verdict({})
    assert "is good enough to compare" in replace(few, count=needed).verdict({})


def test_bias_would_have_passed_a_collapsed_model() -> None:
    """Why the count matters: one single image, over and over, is within ten times of two halves of real ones."""
    random = torch.Generator().manual_seed(0)
    spread = torch.arange(1, 513) ** -0.5
    first, second = (torch.randn(60, 512, generator=random) * spread for _ in range(2))
    collapsed = torch.zeros(60, 512)
    assert frechet_distance(first, collapsed) < 10 * frechet_distance(first, second)


def test_judged_images_are_those_that_would_be_saved() -> None:
    pixels = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    (judged,) = as_images(pixels)
    assert torch.equal(pil_to_tensor(judged), to_uint8(pixels)[0])


def test_halves_share_no_image() -> None:
    items = Digits().pool
    first, second = halves(items)
    assert (len(first), len(second)) == (200, 200)
    assert not set(first) & set(second)
    assert halves(items) == (first, second)


def test_the_embedded_backbone_is_good_enough_and_an_untrained_one_is_not(model_folder: Path) -> None:
    found = {}
    for name in ("digits", str(model_folder)):
        model = Synthesizer(StableDiffusion(name), steps=4)
        size = model.backbone.image_size
        found[name] = measure_adequacy(model, Digits(), Extractor("digits", None, size))
    good, poor = found.values()
    assert "is good enough to compare" in good.verdict({})
    assert (good.count, good.features) == (200, 96)
    assert good.real_recognised > 0.95
    assert good.reconstructions_recognised > 0.95
    assert good.reconstructions < 2 * good.halves
    assert "NOT good enough" in poor.verdict({})
    assert poor.noise > 10 * poor.halves
    assert [(found.extractor_saw, found.backbone_saw) for found in (good, poor)] == [(0, 0), (0, None)]


def test_the_judging_images_are_those_that_nobody_was_trained_on() -> None:
    source = Digits()
    hashes = [source.sha256(item) for item in source.pool]
    first, last = set(hashes[:200]), set(hashes[250:])
    assert unseen(source, None, None) == list(source.pool)
    assert unseen(source, first, None) == list(source.pool[200:])
    assert unseen(source, set(hashes[:100]), set(hashes[300:])) == list(source.pool[100:300])
    assert unseen(source, first, last) == list(source.pool[200:])  # 50 that neither saw are too few
    assert unseen(source, set(hashes[99:]), None) == list(source.pool)


def test_who_saw_the_judging_images_and_what_that_does_is_said() -> None:
    assert replace(GOOD, extractor_saw=0, backbone_saw=0).judges == (
        "These 400 real images are from the few-shot pool; no test image is among them. "
        "Neither the extractor nor the backbone was trained on any of them."
    )
    seen = replace(GOOD, extractor_saw=390, backbone_saw=0).judges
    assert "The extractor was trained on 390 of them: real images look easier than new ones" in seen
    assert "the verdict may be too hard. The backbone was trained on none of them." in seen
    assert "It is not known whether the backbone was trained on them" in replace(GOOD, extractor_saw=0).judges


def test_embedded_models_saw_the_backbone_pool_alone() -> None:
    known = seen_by_extractor("digits")
    assert known == seen_by_backbone(StableDiffusion("digits"))
    assert known is not None and len(known) <= 897
    for part, expected in (("backbone", True), ("few-shot", False)):
        source = Digits(part)
        assert {source.sha256(item) in known for item in source.pool} == {expected}
    assert seen_by_extractor("resnet18") is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[1]", "holds no JSON object"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "has no 'sha256'"),
        ('{"sha256": [[]]}', "has a 'sha256' that holds no hashes"),
    ],
    ids=["list", "nested", "empty", "lists"],
)
def test_a_saved_classifier_says_what_it_was_trained_on(tmp_path: Path, content: str, problem: str) -> None:
    write_trained_on(tmp_path, ["b", "a"])
    assert seen_by_extractor(f"local-dir:{tmp_path}") == {"a", "b"}
    (tmp_path / TRAINED_ON).write_text(content)
    with pytest.raises(UserError, match=rf"extractor: '.*trained_on\.json' {problem}.*; delete it"):
        seen_by_extractor(f"local-dir:{tmp_path}")


def test_a_pretrained_backbone_says_what_it_was_trained_on(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    assert seen_by_backbone(StableDiffusion(str(folder))) is None
    write_trained_on(folder, ["b", "a"])
    backbone = StableDiffusion(str(folder))
    assert seen_by_backbone(backbone) == {"a", "b"}
    backbone.identity += "+lora@1"  # nobody knows what that was trained on
    assert seen_by_backbone(backbone) is None


def test_a_pool_that_cannot_be_halved(tmp_path: Path, extractor_folder: Path, model_folder: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "only.png")
    extractor = Extractor(f"local-dir:{extractor_folder}", None, 16)
    with pytest.raises(UserError, match="a pool of 2 images cannot be halved"):
        measure_adequacy(Synthesizer(StableDiffusion(str(model_folder))), ImageFolder(tmp_path), extractor)


def test_the_class_of_a_colour_is_recognised(extractor_folder: Path) -> None:
    """Images of one colour each lie at their class's mean; with classes exchanged none is recognised."""
    extractor = Extractor(f"local-dir:{extractor_folder}", None, 16)
    images = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    real = image_features(extractor, zip(images * 2, ["r", "g", "b"] * 2, strict=True))

    def share(*names: str) -> float:
        return recognised(real, image_features(extractor, zip(images, names, strict=True)))

    assert share("r", "g", "b") == 1
    assert share("g", "b", "r") == 0
    assert share("r", "b", "g") == pytest.approx(1 / 3)


def test_latent_statistics_of_noise_and_of_biased_noise() -> None:
    z = torch.randn(64, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    found = summarize(*norms_and_channels(z))
    assert found.norm == pytest.approx(1, abs=0.01)
    assert found.bias < 0.02
    assert found.count == 64
    z[:, 2] -= 0.5
    biased = summarize(*norms_and_channels(z))
    assert biased.bias == pytest.approx(0.5, abs=0.02)
    assert biased.norm == pytest.approx((1 + 0.5**2 / 4) ** 0.5, abs=0.01)
    assert summarize(*norms_and_channels(2 * z)).norm_spread == pytest.approx(2 * biased.norm_spread, rel=1e-4)
