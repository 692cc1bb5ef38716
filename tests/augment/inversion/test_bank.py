import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from augment.errors import UserError
from augment.inversion.bank import LatentBank, LatentKey
from augment.inversion.inversion import Quality, check_latent

KEY = LatentKey(
    image="ab12",
    backbone="tiny@1",
    prompt="a cat",
    kind="ddim",
    steps=50,
    guidance=1.0,
    resolution=32,
    precision="fp32",
)
OTHER = {"steps": 20, "guidance": 2.0, "resolution": 64}
GOOD = Quality(round_trip=31.5, autoencoder=33.0)


def latent(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("field", [f.name for f in fields(LatentKey)])
def test_every_field_of_the_key_decides_the_file(field: str, tmp_path: Path) -> None:
    other = replace(KEY, **{field: OTHER.get(field, "another")})
    assert other.digest != KEY.digest
    bank = LatentBank(tmp_path, "tiny@1")
    bank.store(KEY, latent(), GOOD, "cat/1.png")
    assert KEY in bank
    assert other not in bank


def test_the_digest_is_the_same_in_every_run() -> None:
    """A changed digest would invert every user's bank again: change it knowingly."""
    assert KEY.digest == replace(KEY).digest
    assert len(KEY.digest) == 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_round_trip_is_exact_and_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    bank = LatentBank(tmp_path / "new" / "bank", "tiny@1")
    stored = latent().to(dtype)
    bank.store(KEY, stored, GOOD, "cat/1.png")
    loaded = LatentBank(bank.folder, "tiny@1").load(KEY, "cat/1.png")
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, stored.float())
    assert bank.quality(KEY) == GOOD


def test_nothing_partial_is_left_behind(tmp_path: Path) -> None:
    bank = LatentBank(tmp_path, "tiny@1")
    bank.store(KEY, latent(), GOOD, "cat/1.png")
    assert {path.name for path in tmp_path.iterdir()} == {"bank.json", f"{KEY.digest}.safetensors"}
    assert json.loads((tmp_path / "bank.json").read_text()) == {"backbone": "tiny@1"}


def test_a_view_of_a_batch_is_stored_alone(tmp_path: Path) -> None:
    bank = LatentBank(tmp_path, "tiny@1")
    batch = torch.stack([latent(n) for n in range(16)])
    bank.store(KEY, batch[3], GOOD, "cat/1.png")
    assert torch.equal(bank.load(KEY, "cat/1.png"), batch[3])
    assert (tmp_path / f"{KEY.digest}.safetensors").stat().st_size < 2 * latent().numel() * 4


def test_a_bank_of_another_backbone_is_refused(tmp_path: Path) -> None:
    LatentBank(tmp_path, "tiny@1").store(KEY, latent(), GOOD, "cat/1.png")
    with pytest.raises(UserError, match=r"holds latents of backbone 'tiny@1', this run uses 'tiny@2'"):
        LatentBank(tmp_path, "tiny@2")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_latents_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    bank = LatentBank(tmp_path, "tiny@1")
    broken = latent()
    broken[0, 0, 0] = value
    bank.store(KEY, broken, GOOD, "cat/1.png")
    with pytest.raises(UserError, match=r"of image 'cat/1\.png': it holds NaN or infinity; delete it"):
        bank.load(KEY, "cat/1.png")


def test_a_latent_of_zeros_is_refused(tmp_path: Path) -> None:
    bank = LatentBank(tmp_path, "tiny@1")
    bank.store(KEY, torch.zeros(4, 8, 8), GOOD, "cat/1.png")
    with pytest.raises(UserError, match=r"of image 'cat/1\.png': it is all zeros; delete it"):
        bank.load(KEY, "cat/1.png")


@pytest.mark.parametrize("content", [b"", b"garbage" * 50])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    bank = LatentBank(tmp_path, "tiny@1")
    (tmp_path / f"{KEY.digest}.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=rf"{KEY.digest}\.safetensors' of image 'cat/1\.png' cannot be read .*delete"):
        bank.load(KEY, "cat/1.png")
    with pytest.raises(UserError, match=rf"{KEY.digest}\.safetensors'.* cannot be read .*delete"):
        bank.quality(KEY)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    bank = LatentBank(tmp_path, "tiny@1")
    bank.store(KEY, latent(), GOOD, "cat/1.png")
    path = tmp_path / f"{KEY.digest}.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"of image 'cat/1\.png' cannot be read"):
        bank.load(KEY, "cat/1.png")


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    bank = LatentBank(tmp_path, "tiny@1")
    save_file({"weight": latent()}, tmp_path / f"{KEY.digest}.safetensors")
    with pytest.raises(UserError, match=r"of image 'cat/1\.png' cannot be read"):
        bank.load(KEY, "cat/1.png")


def test_check_names_what_it_checked() -> None:
    check_latent(latent(), "latent X", "mend it")
    with pytest.raises(UserError, match="latent X: it is all zeros; mend it"):
        check_latent(torch.zeros(4), "latent X", "mend it")


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_broken_marker_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "bank.json").write_text(content)
    with pytest.raises(UserError, match=r"bank: '.*bank\.json'"):
        LatentBank(tmp_path, "tiny@1")
