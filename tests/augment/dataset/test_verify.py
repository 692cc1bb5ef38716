import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from augment.cli import main
from augment.dataset.verify import verify
from augment.errors import UserError
from augment.runtime.files import file_sha256


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset, tmp_path / "copy")


def test_a_whole_dataset(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(dataset) == 12
    main(["verify", str(dataset)])
    assert capsys.readouterr().out.startswith(f"{dataset}: 12 samples")


def test_a_missing_shard(copy: Path) -> None:
    (copy / "train-000001.tar").unlink()
    with pytest.raises(UserError, match=r"is damaged: train-000001\.tar is missing; run the same"):
        verify(copy)


def test_every_bad_shard_is_named(copy: Path) -> None:
    (copy / "train-000000.tar").unlink()
    path = copy / "train-000002.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match=r"train-000000\.tar is missing; train-000002\.tar is no whole tar;"):
        verify(copy)


def rewrite(path: Path, change_last_image: bool, drop: int) -> None:
    """The same tar again, with some samples left out or the last image spoilt."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    members = members[: len(members) - 3 * drop]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (member, content) in enumerate(members):
            if change_last_image and number == len(members) - 1:
                content = content[: len(content) // 2]
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_a_shard_with_fewer_samples(copy: Path) -> None:
    rewrite(copy / "train-000001.tar", change_last_image=False, drop=1)
    with pytest.raises(UserError, match=r"train-000001\.tar holds 3 samples instead of 4"):
        verify(copy)


def test_a_broken_image_is_named(copy: Path) -> None:
    with tarfile.open(copy / "train-000001.tar") as tar:
        name = tar.getnames()[-1]
    rewrite(copy / "train-000001.tar", change_last_image=True, drop=0)
    with pytest.raises(UserError, match=rf"train-000001\.tar was altered \(broken image {name}\)"):
        verify(copy)


def test_an_image_that_was_broken_before_it_was_hashed(copy: Path) -> None:
    """The hash alone would not tell."""
    path = copy / "train-000001.tar"
    rewrite(path, change_last_image=True, drop=0)
    manifest = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    manifest["shards"][path.name]["sha256"] = file_sha256(path)
    (copy / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"train-000001\.tar was written \(broken image "):
        verify(copy)


def test_a_single_byte(copy: Path) -> None:
    path = copy / "train-000001.tar"
    with tarfile.open(path) as tar:
        label = next(member for member in tar if member.name.endswith(".cls"))
    content = bytearray(path.read_bytes())
    content[label.offset_data] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-000001\.tar was altered;"):
        verify(copy)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a dataset folder made by `augment synthesize`"):
        verify(tmp_path)


def test_a_manifest_that_is_not_json(copy: Path) -> None:
    (copy / "dataset.json").write_text('{"shards": ')
    with pytest.raises(UserError, match=r"dataset\.json' is not JSON \("):
        verify(copy)


def test_an_unfinished_dataset(copy: Path) -> None:
    manifest = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    (copy / "dataset.json").write_text(json.dumps(manifest | {"shards": {}}))
    with pytest.raises(UserError, match=r"is not finished; run `augment synthesize` on it again"):
        verify(copy)
