import os
import socket
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import SIDE
from PIL import Image
from safetensors.torch import save_file
from timm.data import resolve_data_config
from torchmetrics.image.fid import FrechetInceptionDistance

from augment.errors import UserError
from augment.measure.extractor import Extractor, TimmFeatures, extractor_name, is_clip_tower


def images(count: int, seed: int, side: int = SIDE) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(count)]


def pixels(pictures: list[Image.Image]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])


def expected(network: torch.nn.Module, pictures: list[Image.Image]) -> torch.Tensor:
    """What the network makes of images that are normalised as it was trained, [n, D]."""
    config = resolve_data_config({}, model=network)
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        return network.eval()((pixels(pictures) / 255 - mean) / std)


@pytest.fixture(scope="module")
def folder(extractor_folder: Path) -> str:
    return f"local-dir:{extractor_folder}"


def embed(extractor: Extractor, pictures: list[Image.Image]) -> torch.Tensor:
    return extractor.embed((picture, None) for picture in pictures)[0]


def test_features_are_the_pooled_ones_of_images_normalised_as_the_model_was_trained(folder: str) -> None:
    pictures = images(70, 0)  # more than one group
    network = timm.create_model(folder, pretrained=True, num_classes=0)
    features = embed(Extractor(folder, None, SIDE), pictures)
    torch.testing.assert_close(features, expected(network, pictures), atol=1e-5, rtol=1e-5)
    assert features.dtype == torch.float32


def test_images_are_resized_to_the_models_own_size(folder: str) -> None:
    module = TimmFeatures(folder)
    small = pixels(images(3, 0))
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert module(large).shape == module(small).shape


def test_images_of_other_sizes_are_cropped_as_the_backbone_sees_them(folder: str) -> None:
    small = images(5, 0)
    wide = [Image.new("RGB", (3 * SIDE, SIDE), "red") for _ in small]
    for picture, frame in zip(small, wide, strict=True):
        frame.paste(picture, (SIDE, 0))
    extractor = Extractor(folder, None, SIDE)
    assert torch.equal(embed(extractor, wide), embed(extractor, small))


def test_what_comes_with_an_image_stays_beside_its_features(folder: str) -> None:
    pictures = images(70, 0)
    extractor = Extractor(folder, None, SIDE)
    features, companions = extractor.embed(zip(pictures, range(70), strict=True))
    assert companions == list(range(70))
    torch.testing.assert_close(embed(extractor, [pictures[66]])[0], features[66])


def test_no_images_have_no_features(folder: str) -> None:
    features, companions = Extractor(folder, None, SIDE).embed([])
    assert (len(features), companions) == (0, [])


def test_features_that_are_no_numbers_are_refused(folder: str) -> None:
    extractor = Extractor(folder, None, SIDE)
    extractor.network.mean.fill_(float("nan"))
    with pytest.raises(UserError, match=r"^extractor: 'tinynet' gives NaN or infinite features"):
        embed(extractor, images(2, 0))


def test_the_identity_follows_weights_and_sizes(folder: str) -> None:
    first, again, larger, changed = (Extractor(folder, None, size) for size in (SIDE, SIDE, 2 * SIDE, SIDE))
    next(changed.network.parameters()).data[0] += 1e-3
    assert first.identity == again.identity
    assert len({first.identity, larger.identity, changed.identity}) == 3


@pytest.mark.parametrize(
    ("extractor", "name"),
    [
        ("inception", "inception"),
        ("digits", "digits"),
        ("resnet50", "resnet50"),
        ("inception_v3", "inception_v3"),
        ("local-dir:/some/where/mine", "mine"),
        ("local-dir:mine", "mine"),
        ("local-dir:runs/birds/classifier", "birds"),
        ("local-dir:classifier", "classifier"),
        ("local-dir:clip/classifier", "local_clip"),
        # A folder's name cannot claim to be what it is not.
        ("local-dir:/some/where/inception", "local_inception"),
        ("local-dir:clip", "local_clip"),
        ("clip", "clip"),
        ("vit_base_patch32_clip_224.laion2b", "clip"),
        # Fine-tuned on ImageNet it is no longer CLIP's image tower; that is also timm's default without a tag.
        ("vit_base_patch16_clip_224.openai_ft_in1k", "vit_base_patch16_clip_224.openai_ft_in1k"),
        ("vit_base_patch16_clip_224", "vit_base_patch16_clip_224"),
        ("dinov2", "dinov2"),
        ("vit_small_patch14_dinov2.lvd142m", "dinov2"),
        ("vit_small_patch14_reg4_dinov2.lvd142m", "dinov2"),
    ],
)
def test_names(extractor: str, name: str) -> None:
    assert extractor_name(extractor) == name


def test_a_clip_tower_keeps_its_projection(tmp_path: Path) -> None:
    """The image embedding is what the projection returns, 512 numbers, not the 256 that are pooled before it."""
    name = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False)
    torch.nn.init.normal_(network.head.weight)
    save_file(network.state_dict(), tmp_path / "clip.safetensors")
    extractor = Extractor(name, str(tmp_path / "clip.safetensors"), 224)
    pictures = images(1, 0, side=224)
    features = embed(extractor, pictures)
    assert is_clip_tower(name) and features.shape == (1, 512)
    torch.testing.assert_close(features, expected(network, pictures), atol=1e-4, rtol=1e-4)


def test_a_timm_model_takes_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    extractor = Extractor("test_resnet", str(tmp_path / "weights.safetensors"), 160)
    pictures = images(2, 0, side=160)
    network.reset_classifier(0)
    torch.testing.assert_close(embed(extractor, pictures), expected(network, pictures), atol=1e-5, rtol=1e-5)


def test_inception_is_torchmetrics_network_on_uint8_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FID's own network; its weights cannot be had in a test, so that random ones lie in the file."""
    pytest.importorskip("torch_fidelity", reason="FID needs torch-fidelity")
    path = tmp_path / "inception.pth"
    torch.save({}, path)
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
        untrained = FrechetInceptionDistance(2048, feature_extractor_weights_path=str(path)).inception
    torch.save(untrained.state_dict(), path)
    pictures = images(2, 0)
    features = embed(Extractor("inception", str(path), SIDE), pictures)
    assert features.shape == (2, 2048)
    assert torch.equal(features, untrained(pixels(pictures)))


def test_an_extractor_with_its_own_weights_takes_no_others(folder: str) -> None:
    for extractor in ("digits", folder):
        with pytest.raises(UserError) as error:
            Extractor(extractor, "w.pth", SIDE)
        assert str(error.value) == (
            f"extractor_weights: extractor '{extractor}' has its own weights; leave 'w.pth' out"
        )


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
    "name",
    [
        "inception",
        "clip",
        "no_such_model",
        "local-dir:/no/such/folder",
        "hf-hub:nobody/nothing",
        "resnet18.a1_in1k",
        "resnet18.no_such_weights",
    ],
)
def test_an_extractor_that_cannot_be_had_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=rf"extractor: '{name}' cannot be loaded \(.*`extractor` digits") as error:
        Extractor(name, None, SIDE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("extractor", ["inception", "test_resnet"])
@pytest.mark.parametrize("content", [None, b"no weights"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_from_a_file_that_is_missing_or_broken(
    tmp_path: Path, extractor: str, content: bytes | None, suffix: str
) -> None:
    path = tmp_path / f"weights.{suffix}"
    if content is not None:
        path.write_bytes(content)
    refused = (
        rf"extractor: '{extractor}' cannot be loaded|extractor_weights: this file for '{extractor}' holds no weights"
    )
    expected = refused if content is not None else rf"extractor_weights: no file '{path}'; give the file of the weights"
    with pytest.raises(UserError, match=expected) as error:
        Extractor(extractor, str(path), SIDE)
    assert "\n" not in str(error.value)


class Bomb:
    """What a pickle can do to whoever loads it: here, make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("extractor", ["inception", "test_resnet"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_run_no_code(tmp_path: Path, extractor: str, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    torch.save(Bomb(tmp_path / "exploded"), path)
    refused = (
        rf"extractor: '{extractor}' cannot be loaded|extractor_weights: this file for '{extractor}' holds no weights"
    )
    with pytest.raises(UserError, match=refused):
        Extractor(extractor, str(path), SIDE)
    assert not (tmp_path / "exploded").exists()
