"""The models that ship inside the packages: their format and size, whatever their quality."""

import json
from pathlib import Path

import timm
import torch

import augment
from augment.backbones.stable_diffusion import StableDiffusion
from augment.measure.extractor import TimmFeatures

BACKBONE = Path(augment.__file__).parent / "assets" / "backbones" / "digits"
EXTRACTOR = Path(augment.__file__).parent / "assets" / "extractors" / "digits"


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_backbone_is_a_small_stable_diffusion_folder() -> None:
    assert size(BACKBONE) <= 8_000_000
    assert not [path for path in BACKBONE.rglob("*") if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]
    index = json.loads((BACKBONE / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    classes = {part: kind[1] for part, kind in index.items() if isinstance(kind, list)}
    assert classes["unet"] == "UNet2DConditionModel"
    assert classes["vae"] == "AutoencoderKL"
    assert classes["text_encoder"] == "CLIPTextModel"
    assert classes["scheduler"] == "DDIMScheduler"
    schedule = json.loads((BACKBONE / "scheduler" / "scheduler_config.json").read_text())
    expected = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    assert schedule.items() >= (expected | {"clip_sample": False, "set_alpha_to_one": False}).items()


def test_the_backbone_is_loaded_by_its_name() -> None:
    backbone = StableDiffusion()
    assert backbone.identity.startswith("digits@")
    assert backbone.image_size == 32
    assert backbone.latent_shape[0] == 4
    backbone.load()
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}


def test_the_model_card_has_its_errors() -> None:
    card = (BACKBONE / "README.md").read_text(encoding="utf-8")
    assert "| autoencoder alone |" in card
    assert "| DDIM inversion and back, 50 steps |" in card
    assert "500 test images" in card


def test_the_extractor_is_a_small_timm_folder() -> None:
    assert size(EXTRACTOR) <= 1_000_000
    network = timm.create_model(f"local-dir:{EXTRACTOR}", pretrained=True)
    assert network.num_classes == 10
    features = TimmFeatures(f"local-dir:{EXTRACTOR}")(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert features.shape == (2, network.num_features)
