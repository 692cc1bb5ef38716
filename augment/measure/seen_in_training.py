"""Which real images had a model seen before it judged them? Known of the embedded ones and of `classify fit`'s."""

import json
from collections.abc import Iterable
from pathlib import Path

from augment.backbones.checkpoint import EMBEDDED as BACKBONES
from augment.backbones.checkpoint import hash_folder
from augment.errors import UserError
from augment.images.sources import Digits
from augment.measure.extractor import EMBEDDED as EXTRACTORS
from augment.runtime.files import write_json

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
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8"))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("extractor", f"'{path}' cannot be read ({error!r})", "delete it") from error


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
