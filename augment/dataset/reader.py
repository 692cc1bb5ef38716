"""How is a shard read? The only reader of tars: headers, records and images, never a pickle."""

import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from augment.dataset.manifest import read_manifest
from augment.dataset.record import MOST_BYTES, parse_record, soft_label
from augment.dataset.shard_writer import Sample
from augment.errors import UserError
from augment.images.decode import open_image
from augment.runtime.files import file_sha256

FORMATS = ("PNG", "JPEG", "WEBP")
"""Pillow's names of the formats that shards hold; no other reader ever sees their bytes."""

MOST_MEMBERS = 3_000_000
MOST_IMAGE_BYTES = 2**28
"""Shards of more or larger members than these were made to fill memory."""


@dataclass(frozen=True)
class Member:
    """The bytes of one file in a shard."""

    shard: Path
    offset: int
    size: int

    def read(self, stream: BinaryIO) -> bytes:
        """The bytes, from the open shard."""
        stream.seek(self.offset)
        return stream.read(self.size)

    def load(self) -> bytes:
        """The bytes, from a shard that is opened for them."""
        with self.shard.open("rb") as stream:
            return self.read(stream)


@dataclass(frozen=True)
class Stored:
    """One sample of a shard: its key, its record, and where its image lies."""

    key: str
    record: dict[str, Any]
    image: Member


def headers(path: Path, stream: BinaryIO) -> Iterator[tuple[str, str, Member]]:
    """Key, extension and place of every member of an open shard; a key ends at the first dot.

    Raises:
        TarError: If it is no plain tar of small files, each of them whole and once.
    """
    end = os.fstat(stream.fileno()).st_size
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:  # a plain tar: nothing is unpacked on the way
            for info in tar:
                key, _, extension = info.name.partition(".")
                most = MOST_BYTES if extension in ("cls", "json") else MOST_IMAGE_BYTES
                if not info.isreg() or info.issparse() or not 0 <= info.size <= most or info.name in seen:
                    raise tarfile.ReadError(f"it holds {info.name!r} twice, too large, or not as a plain file")
                if info.offset_data + info.size > end:
                    raise tarfile.ReadError("unexpected end of data")
                seen.add(info.name)
                if len(seen) > MOST_MEMBERS:
                    raise tarfile.ReadError(f"it holds more than {MOST_MEMBERS} files")
                yield key, extension, Member(path, info.offset_data, info.size)
    except (tarfile.TarError, OSError):
        raise
    except Exception as error:  # a forged header makes tarfile raise what its code happens to trip over
        raise tarfile.ReadError(f"invalid header ({error!r})") from error


def index_shard(path: Path, classes: int | None = None) -> list[Stored]:
    """The samples of a shard, in order; their images stay in the file until they are asked for.

    Args:
        path: Of the shard.
        classes: Number of the dataset's classes, which bounds the labels.

    Raises:
        UserError: If the shard or a record is broken.
    """
    images: dict[str, Member] = {}
    records: dict[str, dict[str, Any]] = {}
    try:
        with path.open("rb") as stream:
            for key, extension, member in headers(path, stream):
                if extension == "json":
                    records[key] = read_record(f"{key}.json", member.read(stream), classes)
                elif extension != "cls":
                    images[key] = member
        if lacking := images.keys() - records.keys():
            raise ValueError(f"{min(lacking)}.json is missing")
        return [Stored(key, records[key], member) for key, member in images.items()]
    except (OSError, ValueError, tarfile.TarError) as error:
        raise unreadable(path.name, error) from error


def read_record(name: str, content: bytes, classes: int | None) -> dict[str, Any]:
    """The record in a member of that name.

    Raises:
        ValueError: Naming the member, if it is none.
    """
    try:
        return parse_record(content, classes)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """The image without transparency; ours have none."""
    return image.convert("RGB")


def decode_member(content: bytes, shard: str) -> Image.Image:
    """The RGB image of these bytes; a broken one is an error, not a smaller dataset.

    Raises:
        UserError: Naming the shard.
    """
    try:
        return open_image(io.BytesIO(content), as_rgb, FORMATS)
    except ValueError as error:
        raise unreadable(shard, error) from error


def load_image(member: Member) -> Image.Image:
    """The RGB image that lies at these bytes of a shard.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        content = member.load()
    except OSError as error:
        raise unreadable(member.shard.name, error) from error
    return decode_member(content, member.shard.name)


def read_shard(path: Path, classes: int | None = None) -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    """Key, RGB image and record of each sample of a shard, in order; see `index_shard`."""
    for sample in index_shard(path, classes):
        yield sample.key, load_image(sample.image), sample.record


def read_images(folder: Path) -> Iterator[tuple[Image.Image, int]]:
    """All images of a dataset folder with their labels, in order."""
    manifest = read_manifest(folder)
    for name in manifest["shards"]:
        for _, image, record in read_shard(folder / name, len(manifest["classes"])):
            yield image, record["label"]


def unreadable(shard: str, error: Exception) -> UserError:
    """What to say of a shard that cannot be read."""
    return UserError("synthetic", f"{shard} cannot be read ({error!r})", "`augment verify` names what is wrong")


def shard_keys(path: Path) -> list[str]:
    """Keys of the complete samples of a shard; reads the tar's headers only.

    Raises:
        UserError: If the file is not a whole tar.
    """
    try:
        with path.open("rb") as stream:
            members = Counter(key for key, _, _ in headers(path, stream))
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"shard '{path}'",
            f"it is broken ({' '.join(str(error).split())})",
            "run the same command again to make it anew",
        ) from error
    return sorted(key for key, count in members.items() if count == 3)  # cls, json and the image


def is_complete(path: Path, samples: Sequence[Sample], sha256: str | None = None) -> bool:
    """Whether a finished shard lies there with exactly the planned samples, and with this hash if it is known."""
    try:
        whole = path.exists() and shard_keys(path) == [sample.key for sample in samples]
        return whole and sha256 in {None, file_sha256(path)}
    except UserError:
        return False


def find_broken(path: Path, classes: int) -> str | None:
    """The first member of a whole tar that readers refuse, in words; None if there is none."""
    with path.open("rb") as stream:
        for key, extension, member in headers(path, stream):
            content = member.read(stream)
            try:
                if extension == "json":
                    soft_label(parse_record(content, classes), classes, key)
                elif extension != "cls":
                    open_image(io.BytesIO(content), as_rgb, FORMATS)
            except (ValueError, UserError) as error:
                name = f"{key}.{extension}"
                return f"broken record {name}: {error}" if extension == "json" else f"broken image {name}"
    return None


def find_unlike(path: Path) -> str | None:
    """The first KEY.cls of a readable shard that does not hold the label of its record; None if there is none."""
    with path.open("rb") as stream:
        members = list(headers(path, stream))
        labels = {key: member.read(stream).strip() for key, extension, member in members if extension == "cls"}
    unlike = [s.key for s in index_shard(path) if labels.get(s.key) != str(s.record["label"]).encode()]
    return f"{unlike[0]}.cls" if unlike else None
