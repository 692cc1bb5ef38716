"""Which images are there? Labelled image sources."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from augment.errors import UserError
from augment.images.pixels import to_rgb

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Item:
    """One labelled image of a source: its name there, the index of its class, and the split it belongs to."""

    name: str
    label: int
    split: Literal["pool", "test"] = "pool"


class ImageSource(ABC):
    """Labelled images: a pool that few-shot sets are chosen from, and a test split kept apart from it."""

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


class Digits(ImageSource):
    """scikit-learn's 1,797 handwritten digits at 32×32, cut once into three parts that share no image.

    The images are ordered by the hash of their pixels: the first 500 are the test split, the next 400
    the few-shot pool, and the other 897 the backbone pool, on which the embedded models were trained.

    Args:
        part: Which part is the pool that few-shot sets are chosen from.
    """

    TEST, FEW_SHOT = 500, 400

    def __init__(self, part: Literal["few-shot", "backbone"] = "few-shot") -> None:
        self.part = part

    @cached_property
    def _pixels_and_labels(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target  # [1797, 8, 8]

    @cached_property
    def _order(self) -> list[int]:
        pixels, _ = self._pixels_and_labels
        return sorted(range(len(pixels)), key=lambda n: hashlib.sha256(pixels[n].tobytes()).digest())

    def _items(self, numbers: Sequence[int], split: Literal["pool", "test"]) -> tuple[Item, ...]:
        _, labels = self._pixels_and_labels
        return tuple(Item(f"digit-{n:04d}", int(labels[n]), split) for n in sorted(numbers))

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten digits, as words that a prompt can hold."""
        return ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    @property
    def pool(self) -> tuple[Item, ...]:
        """The few-shot pool or the backbone pool, by `part`."""
        cut = self.TEST + self.FEW_SHOT
        return self._items(self._order[self.TEST : cut] if self.part == "few-shot" else self._order[cut:], "pool")

    @property
    def test(self) -> tuple[Item, ...]:
        """The 500 test images."""
        return self._items(self._order[: self.TEST], "test")

    def content(self, item: Item) -> bytes:
        """The 64 grey values."""
        pixels, _ = self._pixels_and_labels
        return bytes(pixels[int(item.name.removeprefix("digit-"))].tobytes())

    def image(self, item: Item) -> Image.Image:
        """The digit, enlarged from 8×8 to 32×32."""
        grey = Image.frombytes("L", (8, 8), self.content(item))
        return grey.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB")


class ImageFolder(ImageSource):
    """A folder of class folders: `PATH/<class>/<image>`, any format that Pillow reads.

    Args:
        path: The folder that holds one folder of training images per class.
        test_path: The folder that holds one folder of test images per class; without it a classifier cannot be tested.
    """

    def __init__(self, path: Path | str, test_path: Path | str | None = None) -> None:
        self.path = Path(path)
        self.test_path = Path(test_path) if test_path is not None else None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted."""
        if not self.path.is_dir():
            raise UserError("source.path", f"no folder '{self.path}'", "give a folder of class folders")
        names = sorted(p.name for p in self.path.iterdir() if p.is_dir() and not p.name.startswith("."))
        if not names:
            raise UserError(
                "source.path", f"'{self.path}' has no class folders", f"sort images as {self.path}/<class>/<image>"
            )
        return tuple(names)

    @cached_property
    def pool(self) -> tuple[Item, ...]:
        """The images below `path`."""
        return self._scan(self.path, "pool", "source.path")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The images below `test_path`."""
        if self.test_path is None:
            raise UserError(
                "source.test_path", "not given", "a classifier needs a folder of test images to be tested on"
            )
        if not self.test_path.is_dir():
            raise UserError("source.test_path", f"no folder '{self.test_path}'", "give a folder of class folders")
        folders = {p.name for p in self.test_path.iterdir() if p.is_dir() and not p.name.startswith(".")}
        unknown = sorted(folders - set(self.classes))
        if unknown:
            raise UserError(
                "source.test_path",
                f"class '{unknown[0]}' of '{self.test_path}' is not in '{self.path}'",
                "give both the same class folders",
            )
        return self._scan(self.test_path, "test", "source.test_path")

    def _scan(self, root: Path, split: Literal["pool", "test"], argument: str) -> tuple[Item, ...]:
        items: list[Item] = []
        for label, name in enumerate(self.classes):
            files = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            if not files:
                raise UserError(argument, f"class '{name}' of '{root}' has no images", "add some or remove the folder")
            items += [Item(file.relative_to(root).as_posix(), label, split) for file in files]
        return tuple(items)

    def _file(self, item: Item) -> Path:
        root = self.path if item.split == "pool" or self.test_path is None else self.test_path
        return root / item.name

    def content(self, item: Item) -> bytes:
        """The file's bytes."""
        return self._file(item).read_bytes()

    def image(self, item: Item) -> Image.Image:
        """The decoded file as upright RGB."""
        file = self._file(item)
        try:
            with Image.open(file) as image:
                return to_rgb(ImageOps.exif_transpose(image))
        except (
            OSError,
            UnidentifiedImageError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"image '{file}'", f"cannot be read ({reason})", "replace it, or pass over it with `skip_bad`"
            ) from error


class UnlabelledFolder(ImageFolder):
    """All images below a folder, at any depth, as one class; the test images are optional.

    Args:
        path: The folder of training images.
        test_path: The folder of images that the model card measures the finished model on.
    """

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The only class."""
        return ("image",)

    @cached_property
    def pool(self) -> tuple[Item, ...]:
        """The images below `path`."""
        return self._below(self.path, "pool", "source.path")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The images below `test_path`, none without it."""
        return () if self.test_path is None else self._below(self.test_path, "test", "source.test_path")

    def _below(self, root: Path, split: Literal["pool", "test"], argument: str) -> tuple[Item, ...]:
        files = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not files:
            raise UserError(argument, f"no images below '{root}'", "give a folder that has some")
        return tuple(Item(file.relative_to(root).as_posix(), 0, split) for file in files)
