"""How does a data set of torchvision become a source? With its official splits and class names, downloaded once."""

import hashlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from augment.errors import UserError
from augment.images.sources.base import ImageSource, Item, Split, decode

log = logging.getLogger(__name__)

TorchvisionName = Literal[
    "Flowers102",
    "OxfordIIITPet",
    "FGVCAircraft",
    "DTD",
    "EuroSAT",
    "Food101",
    "StanfordCars",
    "Caltech101",
    "CIFAR10",
    "CIFAR100",
]
NAMES: tuple[str, ...] = get_args(TorchvisionName)

TEST_SHARE = 5
"""One image in so many is a test image where there are no official splits."""

TIMEOUT = 20
"""Seconds without an answer after which a download counts as failed."""


@dataclass(frozen=True)
class Layout:
    """How torchvision's class divides a data set.

    Attributes:
        pool: Arguments of the class for each part of the pool.
        test: The same for the test images; none where the data set has no official split.
        files: What lies below `root`, for who has to put it there.
    """

    pool: tuple[dict[str, Any], ...]
    test: tuple[dict[str, Any], ...]
    files: str


TRAIN, VAL, TRAINVAL, TEST = ({"split": name} for name in ("train", "val", "trainval", "test"))
CIFAR = ({"train": True},), ({"train": False},)

LAYOUTS: dict[str, Layout] = {
    "Flowers102": Layout((TRAIN, VAL), (TEST,), "flowers-102/jpg, flowers-102/imagelabels.mat, flowers-102/setid.mat"),
    "OxfordIIITPet": Layout((TRAINVAL,), (TEST,), "oxford-iiit-pet/images, oxford-iiit-pet/annotations"),
    "FGVCAircraft": Layout((TRAINVAL,), (TEST,), "fgvc-aircraft-2013b/data"),
    "DTD": Layout((TRAIN, VAL), (TEST,), "dtd/dtd/images, dtd/dtd/labels"),
    "EuroSAT": Layout(({},), (), "eurosat/2750"),
    "Food101": Layout((TRAIN,), (TEST,), "food-101/images, food-101/meta"),
    "StanfordCars": Layout(
        (TRAIN,),
        (TEST,),
        "stanford_cars/cars_train, stanford_cars/cars_test, stanford_cars/devkit, "
        "stanford_cars/cars_test_annos_withlabels.mat",
    ),
    "Caltech101": Layout(({},), (), "caltech101/101_ObjectCategories"),
    "CIFAR10": Layout(*CIFAR, "cifar-10-batches-py"),
    "CIFAR100": Layout(*CIFAR, "cifar-100-python"),
}


@dataclass(frozen=True)
class Sample:
    """One image: its file, or its pixels uint8 [H, W, 3]."""

    name: str
    label: int
    image: Path | np.ndarray


class TorchvisionDataset(ImageSource):
    """A data set of torchvision: the pool is its official training split, with the validation split where it has one.

    EuroSAT and Caltech101 have no official split: one image in five of each class, chosen by the hash of its name, is
    a test image, and always the same ones. CIFAR's files are pickles, which torchvision reads only if they have their
    published checksum.

    Args:
        name: The name of torchvision's class.
        root: The folder that its files lie in, or are downloaded to on first use; by default `datasets` in torch's
            cache folder, `$TORCH_HOME` or `~/.cache/torch`.
    """

    def __init__(self, name: TorchvisionName, root: Path | str | None = None) -> None:
        if name not in NAMES:
            raise UserError("source.name", f"no data set '{name}'", f"choose from {', '.join(NAMES)}")
        self.name = name
        self.root = Path(root) if root is not None else default_root()
        self.folders = (self.root,)

    @cached_property
    def _parts(self) -> tuple[tuple[str, ...], dict[Split, tuple[Sample, ...]]]:
        """The class names, and the samples of both splits."""
        layout = LAYOUTS[self.name]
        opened = [self._open(arguments) for arguments in (*layout.pool, *layout.test)]
        names = opened[0].categories if self.name == "Caltech101" else opened[0].classes
        parts = [samples_of(dataset, self.root) for dataset in opened]
        pool = [sample for part in parts[: len(layout.pool)] for sample in part]
        test = [sample for part in parts[len(layout.pool) :] for sample in part]
        if not layout.test:
            pool, test = cut(pool)
        return tuple(map(str, names)), {"pool": tuple(pool), "test": tuple(test)}

    def _open(self, arguments: dict[str, Any]) -> Any:
        from torchvision import datasets

        make = getattr(datasets, self.name)
        try:
            return make(self.root, **arguments)
        except RuntimeError:  # not there, or not whole
            log.warning("downloading %s to %s", self.name, self.root)
        except (OSError, ValueError, KeyError) as error:
            raise self._broken(error) from error
        try:
            with patience(TIMEOUT):
                return make(self.root, **arguments, download=True)
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> UserError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        command = f"import torchvision; torchvision.datasets.{self.name}('FOLDER', download=True)"
        fetch = "" if self.name == "StanfordCars" else f', or run `python -c "{command}"` elsewhere'
        return UserError(
            "source.name",
            f"{self.name} is not whole in '{self.root}' and cannot be downloaded ({reason})",
            f"put its files there ({LAYOUTS[self.name].files}){fetch} and give the folder as `source.root`",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The official class names."""
        return self._parts[0]

    @cached_property
    def pool(self) -> tuple[Item, ...]:
        """The official training images."""
        return self._items("pool")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The official test images."""
        return self._items("test")

    def _items(self, split: Split) -> tuple[Item, ...]:
        return tuple(Item(sample.name, sample.label, split) for sample in self._parts[1][split])

    @cached_property
    def _by_name(self) -> dict[str, Sample]:
        return {sample.name: sample for samples in self._parts[1].values() for sample in samples}

    def content(self, item: Item) -> bytes:
        """The file's bytes, or the pixels of CIFAR."""
        image = self._by_name[item.name].image
        return image.read_bytes() if isinstance(image, Path) else image.tobytes()

    def image(self, item: Item) -> Image.Image:
        """The decoded image as upright RGB."""
        image = self._by_name[item.name].image
        return decode(image, str(image)) if isinstance(image, Path) else Image.fromarray(image)


def default_root() -> Path:
    """Where torch keeps what it downloads, in a folder of its own."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "datasets"


def samples_of(dataset: Any, root: Path) -> list[Sample]:
    """The images of torchvision's data set with their labels, not decoded; a file's name is relative to `root`.

    Its classes keep the files under several names, and only by decoding them all would an image tell its label.
    """
    if hasattr(dataset, "data"):
        part = "train" if dataset.train else "test"
        return [
            Sample(f"{part}/{n:05d}", int(label), pixels)
            for n, (pixels, label) in enumerate(zip(dataset.data, dataset.targets, strict=True))
        ]
    found = [(Path(file), int(label)) for file, label in files_of(dataset)]
    return [Sample(file.relative_to(root).as_posix(), label, file) for file, label in found]


def files_of(dataset: Any) -> Sequence[tuple[str | Path, int]]:
    """The files of a data set with their labels, under the names that its class keeps them by."""
    if hasattr(dataset, "categories"):  # Caltech101
        folders = [Path(dataset.root, "101_ObjectCategories", name) for name in dataset.categories]
        pairs = zip(dataset.index, dataset.y, strict=True)
        return [(folders[label] / f"image_{number:04d}.jpg", label) for number, label in pairs]
    for name in ("samples", "_samples"):
        if hasattr(dataset, name):
            return list(getattr(dataset, name))
    files = dataset._images if hasattr(dataset, "_images") else dataset._image_files
    return list(zip(files, dataset._labels, strict=True))


def cut(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Samples without an official split as pool and test: of each class the first fifth in the order of hashes."""
    pool: list[Sample] = []
    test: list[Sample] = []
    for label in sorted({sample.label for sample in samples}):
        members = [sample for sample in samples if sample.label == label]
        members.sort(key=lambda sample: hashlib.sha256(sample.name.encode()).digest())
        count = len(members) // TEST_SHARE
        test += members[:count]
        pool += members[count:]
    return sorted(pool, key=attrgetter("name")), sorted(test, key=attrgetter("name"))


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Give up a connection that says nothing for so long: torchvision's downloads would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
