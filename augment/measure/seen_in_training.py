"""Which real images had a model seen before it judged them? Known of the embedded digits and of those trained here."""

from pathlib import Path

from augment.backbones.base import Backbone
from augment.backbones.checkpoint import EMBEDDED as BACKBONES
from augment.images.sources import Digits
from augment.runtime.trained_on import read_trained_on


def seen_by_extractor(extractor: str) -> frozenset[str] | None:
    """Hashes of the real images that an extractor was trained on; None where that is not known.

    Args:
        extractor: As `Extractor` takes it.

    Raises:
        UserError: If the extractor's own list cannot be read.
    """
    if extractor == "digits":
        return embedded_pool()
    return read_trained_on(Path(extractor.removeprefix("local-dir:")), "extractor")


def seen_by_backbone(backbone: Backbone) -> frozenset[str] | None:
    """Hashes of the real images that a backbone was trained on; None where that is not known.

    What its adapters were trained on is never known.

    Raises:
        UserError: If the backbone's own list cannot be read.
    """
    if backbone.folder is None or "+" in backbone.identity.partition("@")[2]:
        return None
    return embedded_pool() if backbone.folder == BACKBONES / "digits" else read_trained_on(backbone.folder, "backbone")


def embedded_pool() -> frozenset[str]:
    """Hashes of the digits that the embedded models were trained on."""
    digits = Digits("backbone")
    return frozenset(digits.sha256(item) for item in digits.pool)
