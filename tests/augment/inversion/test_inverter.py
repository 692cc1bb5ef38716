from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SIDE

from augment.backbones.stable_diffusion import StableDiffusion
from augment.images.few_shot import choose_few_shot_set
from augment.images.pixels import to_tensor
from augment.images.sources import ImageFolder
from augment.inversion.bank import LatentBank, latent_key
from augment.inversion.inversion import Inversion, Quality, psnr
from augment.inversion.inverter import InversionData, Inverter
from augment.runtime.trainer import default_trainer


def test_psnr_is_the_formula_image_by_image() -> None:
    random = torch.Generator().manual_seed(0)
    images, targets = (torch.rand(3, 3, 8, 8, generator=random) * 2 - 1 for _ in range(2))
    # The peak is the range's width, 2.
    expected = [10 * np.log10(4 / float((a - b).square().mean())) for a, b in zip(images, targets, strict=True)]
    assert psnr(images, targets) == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def parts(model_folder: Path, train_folder: Path, tmp_path: Path) -> SimpleNamespace:
    backbone = StableDiffusion(model=str(model_folder))
    source, how = ImageFolder(train_folder), Inversion(steps=2, batch_size=4)
    few_shot = choose_few_shot_set(source, 3, 0)
    keys = [latent_key(shot, backbone, "a photo", how) for shot in few_shot.all]
    bank = LatentBank(tmp_path / "bank", backbone.identity)
    data = InversionData(source, few_shot.all, keys, bank, how.batch_size, SIDE)
    return SimpleNamespace(
        backbone=backbone, how=how, few_shot=few_shot, keys=keys, bank=bank, data=data, source=source
    )


def test_batches_hold_the_images_with_their_keys(parts: SimpleNamespace) -> None:
    parts.data.setup("predict")
    batches = list(parts.data.predict_dataloader())
    assert [len(batch) for batch in batches] == [4, 4, 1]
    assert [shot for batch in batches for shot in batch.shots] == list(parts.few_shot.all)
    assert [key for batch in batches for key in batch.keys] == parts.keys
    first = to_tensor(parts.source.image(parts.few_shot.all[0]), SIDE)
    assert torch.equal(batches[0].images[0], first)


def test_a_batch_with_anything_missing_is_made_whole(parts: SimpleNamespace) -> None:
    """Its composition decides the last bit, so it must not depend on what a killed run left."""
    for n, key in enumerate(parts.keys):
        if n != 5:
            parts.bank.store(key, torch.ones(4, 8, 8), Quality(1, 1), "x")
    parts.data.setup("predict")
    (batch,) = parts.data.predict_dataloader()
    assert batch.keys == tuple(parts.keys[4:8])


@torch.no_grad()
def test_quality_is_the_round_trip_and_the_autoencoder_alone(parts: SimpleNamespace) -> None:
    from augment.backbones.start import Start

    parts.data.setup("predict")
    batch, backbone = next(iter(parts.data.predict_dataloader())), parts.backbone
    inverter = Inverter(backbone, parts.how)
    inverter.trainer = default_trainer([])
    latents, embeddings, quality = zip(*inverter.predict_step(batch, 0), strict=True)
    inverted = torch.stack(latents)
    assert embeddings == (None,) * 4
    prompts = ("a photo",) * 4
    clean = backbone.encode(batch.images)
    assert torch.equal(inverted, backbone.invert(clean, prompts, 2, 1.0).latent)
    back = backbone.decode(backbone.denoise(Start(inverted, prompts), 2, 1.0))
    assert [q.round_trip for q in quality] == pytest.approx(psnr(back, batch.images))
    assert [q.autoencoder for q in quality] == pytest.approx(psnr(backbone.decode(clean), batch.images))


def test_the_key_says_how_the_latent_was_made(parts: SimpleNamespace) -> None:
    shot = parts.few_shot.all[0]
    how = Inversion(steps=7, guidance=2.0, precision="bf16")
    key = latent_key(shot, parts.backbone, "a cat", how)
    assert (key.image, key.backbone, key.resolution) == (shot.sha256, parts.backbone.identity, SIDE)
    assert (key.prompt, key.kind, key.steps, key.guidance, key.precision) == ("a cat", "ddim", 7, 2.0, "bf16")
