"""Which real images had a model seen before it judged them? Known of the embedded ones and of `classify fit`'s."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from augment.backbones.checkpoint import EMBEDDED as BACKBONES
from augment.backbones.checkpoint import hash_folder
from augment.images.sources import Digits
from augment.measure.extractor import EMBEDDED as EXTRACTORS
from augment.runtime.files import write_json
from augment.runtime.json_files import read_object

TRAINED_ON = "trained_on.json"
"""Beside a classifier's weights: hashes of the real images that it was trained on."""


def write_trained_on(folder: Path, sha256s: Iterable[str]) -> None:
    """Keep what a classifier was trained on beside its weights."""
    write_json(folder / TRAINED_ON, {"sha256": sorted(sha256s)})


def seen_by_extractor(extractor: str) -> frozenset[str] | None:
    """Hashes of the real images that an extractor was trained on; None where that is not known.

    Args:
        extractor: As `Extractor` takes it.

    Raises:
        UserError: If the extractor's own list cannot be read.
    """
    if Path(extractor).name == extractor and (EXTRACTORS / extractor).is_dir():
        return embedded_pool()
    path = Path(extractor.removeprefix("local-dir:")) / TRAINED_ON
    if not path.is_file():
        return None
    return frozenset(read_object(path, "extractor", "delete it", {"sha256": list}, check_hashes)["sha256"])


def check_hashes(found: Mapping[str, Any]) -> None:
    """Refuse a list of anything but texts.

    Raises:
        ValueError: If it is one.
    """
    if not all(isinstance(sha256, str) for sha256 in found["sha256"]):
        raise ValueError("has a 'sha256' that holds no hashes")


def seen_by_backbone(identity: str) -> frozenset[str] | None:
    """Hashes of the real images that a backbone was trained on; None where that is not known.

    Args:
        identity: The backbone's.
    """
    embedded = {f"{folder.name}@{hash_folder(folder)}" for folder in BACKBONES.iterdir()}
    return embedded_pool() if identity in embedded else None


def embedded_pool() -> frozenset[str]:
    """Hashes of the digits that the embedded models were trained on."""
    digits = Digits("backbone")
    return frozenset(digits.sha256(item) for item in digits.pool)
