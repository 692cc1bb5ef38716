"""The dataset format: which image lies in which shard, how shards are written, and how a folder is described.

The one file that `augment` and `classify` share. A folder holds

    train-000000.tar …   members KEY.cls, KEY.json, KEY.png (or jpg, webp); KEY is CCCC_IIIIII (class, index)
    _info.json           what timm's wds reader wants
    dataset.json         fingerprint, config, class names, few-shot files, library versions, sha256 per shard
    run.json             what differs between runs: host, devices, seconds, images per second, where the real images are
    preview.png          a few real and synthetic images of each class
    browse.html          the page of `augment browse`, once it was made

A finished shard's name is its commit record: it is written under a temporary name, flushed, then renamed.
"""

import contextlib
import io
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from augment.runtime.files import file_sha256, partial_path, write_text

ImageFormat = Literal["png", "jpg", "webp"]
ENCODERS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 1},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "webp": {"format": "WEBP", "quality": 95},
}


@dataclass(frozen=True, order=True)
class Sample:
    """One planned image: index `index` of class `label`."""

    label: int
    index: int

    @property
    def key(self) -> str:
        """Name of its members in the tar; no dots, since readers end the key at the first dot."""
        return f"{self.label:04d}_{self.index:06d}"


def shard_name(shard: int) -> str:
    """File name of a shard."""
    return f"train-{shard:06d}.tar"


def encode_image(image: Image.Image, image_format: ImageFormat) -> bytes:
    """The image as a file of that format, without time stamps."""
    buffer = io.BytesIO()
    image.save(buffer, **ENCODERS[image_format])
    return buffer.getvalue()


def note_path(shard: Path) -> Path:
    """Where the hash of a committed shard is noted until the whole dataset is finished."""
    return shard.with_name(f".{shard.name}.sha256")


def committed_sha256(shard: Path) -> str | None:
    """The hash that a shard had when it was committed, if that is noted."""
    note = note_path(shard)
    return note.read_text(encoding="utf-8").strip() if note.is_file() else None


class ShardFile:
    """A shard being written under a temporary name, until it is committed or dropped."""

    def __init__(self, folder: Path, shard: int) -> None:
        self.path = folder / shard_name(shard)
        self.partial = partial_path(self.path)
        self._stream = self.partial.open("wb")
        self._tar = tarfile.TarFile(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, key: str, image: bytes, image_format: ImageFormat, record: dict[str, Any]) -> None:
        """Append one sample, members sorted by extension."""
        members = {
            "cls": str(record["label"]).encode(),
            "json": json.dumps(record, ensure_ascii=False, sort_keys=True).encode(),
            image_format: image,
        }
        for extension in sorted(members):
            info = tarfile.TarInfo(f"{key}.{extension}")
            info.size, info.mode, info.mtime = len(members[extension]), 0o644, 0
            self._tar.addfile(info, io.BytesIO(members[extension]))

    def commit(self) -> None:
        """Make the shard appear under its name, complete and on disk."""
        self._tar.close()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        write_text(note_path(self.path), file_sha256(self.partial))  # first, so that a shard is never without its hash
        self.partial.replace(self.path)

    def drop(self) -> None:
        """Remove the unfinished shard."""
        with contextlib.suppress(OSError):  # a full disk refuses the last flush again
            self._stream.close()
        self.partial.unlink(missing_ok=True)
