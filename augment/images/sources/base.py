"""What is a source of images? A pool that few-shot sets are chosen from, and test images kept apart from it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from PIL import Image, ImageOps

from augment.errors import UserError
from augment.images.decode import open_image, to_rgb

Split = Literal["pool", "test"]

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Item:
    """One labelled image of a source: its name there, the index of its class, and the split it belongs to."""

    name: str
    label: int
    split: Split = "pool"


class ImageSource(ABC):
    """Labelled images: a pool that few-shot sets are chosen from, and a test split kept apart from it."""

    folders: tuple[Path, ...] = ()
    """Where the images lie, if in folders: nothing else may be written there."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names; the label of an item is its index here."""

    @property
    @abstractmethod
    def pool(self) -> tuple[Item, ...]:
        """The images that may be chosen for training."""

    @property
    @abstractmethod
    def test(self) -> tuple[Item, ...]:
        """The images that only the final test sees."""

    @abstractmethod
    def content(self, item: Item) -> bytes:
        """The bytes that identify the image (the file as it lies on disk)."""

    @abstractmethod
    def image(self, item: Item) -> Image.Image:
        """The upright RGB image.

        Raises:
            UserError: If the image cannot be decoded.
        """

    def readable(self, items: Iterable[Item], skip_bad: bool) -> Iterator[Image.Image]:
        """The images, decoded one at a time; unreadable ones are passed over only if told so."""
        for item in items:
            try:
                yield self.image(item)
            except UserError:
                if not skip_bad:
                    raise

    def sha256(self, item: Item) -> str:
        """Hash of the image's content."""
        return hashlib.sha256(self.content(item)).hexdigest()


def decode(file: Path | IO[bytes], name: str) -> Image.Image:
    """The upright RGB image in a file, or in the bytes of one.

    Args:
        file: Where the encoded image lies.
        name: What an error calls it.

    Raises:
        UserError: If it cannot be decoded.
    """
    try:
        return open_image(file, lambda image: to_rgb(ImageOps.exif_transpose(image)))
    except ValueError as error:
        raise UserError(
            f"image '{name}'", f"cannot be read ({error})", "replace it, or pass over it with `skip_bad`"
        ) from error


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order, each once: numbers by their value, others by the alphabet."""
    found = set(names)
    return tuple(sorted(found, key=int if all(name.isdecimal() for name in found) else None))


def first_three(names: Iterable[str]) -> str:
    """Up to three names in quotes, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(f"'{name}'" for name in found[:3]) + more
