"""The smallest run of `pretrain`, and its parts."""

from pathlib import Path

import pytest
import torch
from conftest import Job

import augment.cli
from augment.architecture import build_text_encoder, build_tokenizer
from augment.pretrain import LatentDiffusion
from augment.pretrain.data import jitter, to_float


def pretrain(output: Path, train: Path, test: Path, *more: str) -> Path:
    augment.cli.main(
        [
            "pretrain",
            *("--output", str(output)),
            *("--model.image_size", "16", "--model.autoencoder_channels", "[8, 16]"),
            *("--model.denoiser_channels", "[16, 32]", "--model.autoencoder_steps", "3"),
            *("--data.source", "augment.data.ImageFolder", "--data.source.path", str(train)),
            *("--data.source.test_path", str(test), "--data.batch_size", "8"),
            *("--trainer.max_steps", "6", "--trainer.accelerator", "cpu", "--trainer.logger", "false"),
            *("--trainer.enable_progress_bar", "false", *more),
        ]
    )
    return output / "model"


def test_pretrain_makes_a_model_that_synthesize_can_use(
    tmp_path: Path, train_folder: Path, test_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    model = pretrain(tmp_path / "a", train_folder, test_folder)
    assert "autoencoder alone" in capsys.readouterr().out
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "| autoencoder alone |" in card
    assert "| DDIM inversion and back, 50 steps |" in card
    assert not [file for file in model.rglob("*") if file.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]
    weights = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert len(list(Job(model, train_folder).synthesize(tmp_path / "out" / "set", per_class=1).glob("*.tar"))) == 1

    again = pretrain(tmp_path / "b", train_folder, test_folder)
    other = pretrain(tmp_path / "c", train_folder, test_folder, "--seed_everything", "1")
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (model / part).glob("*.safetensors")
        assert (again / part / file.name).read_bytes() == file.read_bytes(), part
        assert (other / part / file.name).read_bytes() != file.read_bytes(), part


def test_the_denoiser_learns_behind_a_frozen_autoencoder_of_unit_variance(tmp_path: Path, train_folder: Path) -> None:
    from augment.backbones.stable_diffusion import StableDiffusion
    from augment.data import ImageFolder, to_tensor

    source = ImageFolder(train_folder)
    backbone = StableDiffusion(str(pretrain(tmp_path, train_folder, train_folder)))
    images = torch.stack([to_tensor(source.image(item), backbone.image_size) for item in source.pool])
    assert float(backbone.encode(images).std()) == pytest.approx(1, abs=0.02)

    model = LatentDiffusion(image_size=16, autoencoder_channels=(8, 16), denoiser_channels=(16, 32))
    model.log = lambda *_, **__: None
    model._denoiser_loss(images).backward()
    assert all(p.grad is None for p in model.vae.parameters())
    assert any(p.grad is not None for p in model.unet.parameters())


def test_both_networks_learn(train_folder: Path) -> None:
    """A few steps on one batch make either phase's loss smaller."""
    from augment.data import ImageFolder
    from augment.pretrain import PretrainData

    torch.manual_seed(0)
    model = LatentDiffusion(image_size=16, autoencoder_channels=(8, 16), denoiser_channels=(16, 32))
    images = to_float(PretrainData(ImageFolder(train_folder), 15, 16).images)
    for loss_of, network in ((model._autoencoder_loss, model.vae), (model._denoiser_loss, model.unet)):
        model.log = model.log_dict = lambda *_, **__: None
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
        losses = []
        for step in range(40):
            torch.manual_seed(step % 4)
            optimizer.zero_grad()
            loss = loss_of(images)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_every_text_has_tokens_and_comes_back() -> None:
    """No letter of any language is unknown: the vocabulary is bytes."""
    tokenizer = build_tokenizer()
    for text in ("a digit", "rød grød 狗", ""):
        ids = tokenizer(text, truncation=False).input_ids
        assert tokenizer.unk_token_id not in ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text
    assert len(tokenizer("x" * 99, truncation=True, padding="max_length").input_ids) == tokenizer.model_max_length


def test_text_encoder_tells_prompts_apart() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    encoder = build_text_encoder(tokenizer)
    tokens = tokenizer(["a digit", ""], padding="max_length", return_tensors="pt").input_ids
    prompt, empty = encoder(tokens)[0].detach()
    assert (prompt - empty).abs().max() > 0.1


def test_jitter_of_nothing_is_the_identity() -> None:
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(jitter(images, 0.0), images, atol=1e-5, rtol=0)


def test_jitter_moves_each_image_by_itself() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 8, 8)
    moved = jitter(image.expand(4, -1, -1, -1), 0.1)
    assert moved.shape == (4, 3, 8, 8)
    assert min((moved[a] - moved[b]).abs().max() for a in range(4) for b in range(a)) > 0.01
    assert moved.min() >= image.min() - 1e-5 and moved.max() <= image.max() + 1e-5
