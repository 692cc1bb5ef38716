"""How is a shard read? The only reader of tars: headers, records and images, never a pickle."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from augment.dataset.manifest import read_manifest
from augment.dataset.shard_writer import Sample
from augment.errors import UserError
from augment.runtime.files import file_sha256

BROKEN = (OSError, ValueError, KeyError, TypeError, SyntaxError, tarfile.TarError)
"""What the libraries say of a shard, a record or an image that is none."""


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
    """Key, extension and place of every member of an open shard; a key ends at the first dot."""
    with tarfile.open(fileobj=stream, mode="r:") as tar:  # a plain tar: nothing is unpacked on the way
        for info in tar:
            key, _, extension = info.name.partition(".")
            yield key, extension, Member(path, info.offset_data, info.size)


def index_shard(path: Path) -> list[Stored]:
    """The samples of a shard, in order; their images stay in the file until they are asked for.

    Raises:
        UserError: If the shard or a record is broken.
    """
    images: dict[str, Member] = {}
    records: dict[str, dict[str, Any]] = {}
    try:
        with path.open("rb") as stream:
            for key, extension, member in headers(path, stream):
                if extension == "json":
                    records[key] = json.loads(member.read(stream))
                elif extension != "cls":
                    images[key] = member
        return [Stored(key, records[key], member) for key, member in images.items()]
    except BROKEN as error:
        raise unreadable(path.name, error) from error


def decode(content: bytes, shard: str) -> Image.Image:
    """The RGB image of these bytes; a broken one is an error, not a smaller dataset.

    Raises:
        UserError: Naming the shard.
    """
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except BROKEN as error:
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
    return decode(content, member.shard.name)


def read_shard(path: Path) -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    """Key, RGB image and record of each sample of a shard, in order."""
    for sample in index_shard(path):
        yield sample.key, load_image(sample.image), sample.record


def read_images(folder: Path) -> Iterator[tuple[Image.Image, int]]:
    """All images of a dataset folder with their labels, in order."""
    for name in read_manifest(folder)["shards"]:
        for _, image, record in read_shard(folder / name):
            yield image, int(record["label"])


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


def broken_images(path: Path) -> list[str]:
    """Names of the images of a shard that cannot be decoded."""
    broken = []
    with path.open("rb") as stream:
        for key, extension, member in list(headers(path, stream)):
            if extension in ("cls", "json"):
                continue
            try:
                Image.open(io.BytesIO(member.read(stream))).load()
            except BROKEN:
                broken.append(f"{key}.{extension}")
    return broken
