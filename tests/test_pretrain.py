import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from augment.backbones.stable_diffusion import StableDiffusion
from augment.cli import main
from augment.data import Digits
from augment.pretrain import LatentDiffusion, build_tokenizer, jitter

TINY = [
    "--config=configs/pretrain/digits.yaml",
    "--model.autoencoder_channels=[8,8,8]",
    "--model.denoiser_channels=[16,16]",
    "--model.autoencoder_steps=2",
    "--trainer.max_steps=5",
    "--trainer.enable_progress_bar=false",
    "--trainer.logger=false",
    "--trainer.enable_checkpointing=false",
    "--data.batch_size=8",
]


def weights_hash(folder: Path) -> str:
    return hashlib.sha256(b"".join(f.read_bytes() for f in sorted(folder.rglob("*.safetensors")))).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("augment.model_card.ROUND_TRIP_STEPS", (2,))
        yield


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("pretrain")
    main(["pretrain", *TINY, f"--output={output}"])
    return output / "model"


def test_the_same_seed_gives_the_same_weights(pretrained: Path, tmp_path: Path) -> None:
    main(["pretrain", *TINY, f"--output={tmp_path}"])
    assert weights_hash(tmp_path / "model") == weights_hash(pretrained)
    main(["pretrain", *TINY, f"--output={tmp_path / 'other'}", "--seed_everything=1"])
    assert weights_hash(tmp_path / "other" / "model") != weights_hash(pretrained)


def test_the_class_that_loads_sd15_loads_the_result(pretrained: Path) -> None:
    backbone = StableDiffusion(str(pretrained))
    assert backbone.image_size == 32
    assert backbone.latent_shape == (4, 8, 8)
    assert backbone.pipeline.scheduler.config.beta_end == 0.012
    assert not list(pretrained.rglob("*.bin"))


def test_the_latents_have_unit_variance(pretrained: Path) -> None:
    from augment.data import to_tensor

    backbone, source = StableDiffusion(str(pretrained)), Digits("backbone")
    images = torch.stack([to_tensor(source.image(item), 32) for item in source.pool])
    assert float(backbone.encode(images).std()) == pytest.approx(1, abs=0.02)


def test_the_model_card_states_the_reconstruction_errors(pretrained: Path) -> None:
    card = (pretrained / "README.md").read_text(encoding="utf-8")
    assert "| autoencoder alone |" in card
    assert "| DDIM inversion and back, 2 steps |" in card
    assert "500 test images" in card


def test_training_has_two_phases() -> None:
    model = LatentDiffusion(autoencoder_channels=(8, 8), denoiser_channels=(16, 16), autoencoder_steps=3)
    images = torch.zeros(2, 3, 32, 32)
    assert model._autoencoder_loss(images).requires_grad
    loss = model._denoiser_loss(images)
    loss.backward()
    assert all(p.grad is None for p in model.vae.parameters())
    assert any(p.grad is not None for p in model.unet.parameters())


def test_no_jitter_leaves_images_alone() -> None:
    images = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(jitter(images, 0.0), images, atol=1e-5, rtol=1e-5)


def test_the_tokenizer_tells_prompts_apart() -> None:
    tokenizer = build_tokenizer()
    digit, empty = tokenizer(["a digit", ""]).input_ids
    assert tokenizer.decode(digit, skip_special_tokens=True).replace(" ", "") == "adigit"
    assert len(empty) == 2
