import errno
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Job, leftovers, sha256s
from PIL import Image

from augment.cli import main
from augment.dataset.shard_writer import ShardFile

Fails = Callable[..., str]


def test_a_full_disk_is_one_line_and_keeps_what_is_finished(
    job: Job, dataset: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "set"
    add = ShardFile.add

    def full(self: ShardFile, key: str, *args: Any) -> None:
        if self.path.name == "train-000001.tar" and key == "0001_000001":
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, key, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ShardFile, "add", full)
        error = fails(main, ["synthesize", *job.args(output)], 1)
    assert "No space left on device" in error
    assert "finished shards are kept, run the same command again once there is room" in error
    assert "Traceback" not in error
    assert list(sha256s(output)) == ["train-000000.tar"]
    assert not leftovers(output)
    assert json.loads((output / "dataset.json").read_text(encoding="utf-8"))["shards"] == {}
    assert sha256s(job.synthesize(output)) == sha256s(dataset)


def test_an_error_of_the_sampler_keeps_what_is_finished(
    job: Job, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from augment.backbones.stable_diffusion import StableDiffusion

    output, decode, calls = tmp_path / "set", StableDiffusion.decode, iter(range(100))
    main(["invert", *job.args(output)])

    def failing(self: StableDiffusion, latents: Any) -> Any:
        if next(calls) == 3:  # the second batch of the second shard
            raise RuntimeError("out of memory")
        return decode(self, latents)

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusion, "decode", failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            job.synthesize(output)
    assert list(sha256s(output)) == ["train-000000.tar"]
    assert not leftovers(output)
    assert sha256s(job.synthesize(output)) == sha256s(dataset)


def test_images_are_written_as_their_format_says(dataset: Path) -> None:
    with tarfile.open(dataset / "train-000000.tar") as tar:
        images = [Image.open(tar.extractfile(member)) for member in tar if member.name.endswith(".png")]
        assert {(image.format, image.mode) for image in images} == {("PNG", "RGB")}
