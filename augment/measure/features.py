"""What are the features of a set of images? Values, classes and contents side by side, cached on disk."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from augment.errors import UserError
from augment.images.sources import ImageSource, Item
from augment.measure.extractor import Extractor
from augment.runtime.tensors import write_tensors


@dataclass(frozen=True)
class Features:
    """Features of a set of images under one extractor.

    Args:
        extractor: Name of the extractor.
        values: Features [n, D], float32 on the CPU.
        classes: Name of each image's class.
        sha256s: Hash of each image's content; empty for synthetic images.
    """

    extractor: str
    values: Tensor
    classes: tuple[str, ...]
    sha256s: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.classes)

    def by_class(self) -> dict[str, Tensor]:
        """The features of each class, [m, D], classes in order of their names."""
        rows: dict[str, list[int]] = {name: [] for name in sorted(set(self.classes))}
        for row, name in enumerate(self.classes):
            rows[name].append(row)
        return {name: self.values[members] for name, members in rows.items()}

    def without(self, sha256s: Iterable[str]) -> Tensor:
        """The features of all images but those with such a content, [m, D]."""
        dropped = set(sha256s)
        return self.values[[sha256 not in dropped for sha256 in self.sha256s]]


def image_features(extractor: Extractor, samples: Iterable[tuple[Image.Image, str]]) -> Features:
    """Features of images that come with the names of their classes."""
    values, classes = extractor.embed(samples)
    return Features(extractor.name, values, tuple(classes))


def source_features(
    extractor: Extractor,
    source: ImageSource,
    items: Sequence[Item],
    skip_bad: bool = False,
    cache: Path | None = None,
) -> Features:
    """Features of images of a source.

    Args:
        extractor: What computes them.
        source: Where the images are.
        items: Which images.
        skip_bad: Pass over images that cannot be read.
        cache: Folder where features are kept, keyed by the extractor's identity and the images' contents.

    Raises:
        UserError: If an image cannot be read, or the cache cannot be written.
    """
    sha256s = [source.sha256(item) for item in items]
    key = hashlib.sha256(json.dumps([extractor.identity, sha256s]).encode()).hexdigest()[:32]
    path = None if cache is None else cache / f"{key}.safetensors"
    stored = None if path is None else read_cache(path)
    if stored is None:
        readable = ((image, row) for row, item in enumerate(items) for image in source.readable([item], skip_bad))
        values, rows = extractor.embed(readable)
        stored = {"values": values, "rows": torch.tensor(rows, dtype=torch.int64)}
        if path is not None:
            write_cache(path, stored)
    kept = stored["rows"].tolist()
    return Features(
        extractor.name,
        stored["values"],
        tuple(source.classes[items[row].label] for row in kept),
        tuple(sha256s[row] for row in kept),
    )


def read_cache(path: Path) -> dict[str, Tensor] | None:
    """Cached features; None if there are none, or the file is broken and they have to be computed again."""
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def write_cache(path: Path, stored: dict[str, Tensor]) -> None:
    """Keep features under a name that appears only when the file is complete."""
    try:
        write_tensors(path, stored)
    except (OSError, SafetensorError) as error:
        raise UserError("output", f"features could not be written to '{path.parent}' ({error})", "make room") from error
