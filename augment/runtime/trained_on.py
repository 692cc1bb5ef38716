"""What was a model trained on? Hashes of its real images, in a file beside its weights."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from augment.runtime.files import write_json
from augment.runtime.json_files import read_object

TRAINED_ON = "trained_on.json"
"""Beside the weights of a classifier or of a pretrained backbone."""


def write_trained_on(folder: Path, sha256s: Iterable[str]) -> None:
    """Keep what a model was trained on beside its weights."""
    write_json(folder / TRAINED_ON, {"sha256": sorted(sha256s)})


def read_trained_on(folder: Path, argument: str) -> frozenset[str] | None:
    """The hashes beside a model's weights; None if there are none.

    Args:
        folder: Of the weights.
        argument: That names the model, for messages.

    Raises:
        UserError: If they cannot be read.
    """
    path = folder / TRAINED_ON
    if not path.is_file():
        return None
    return frozenset(read_object(path, argument, "delete it", {"sha256": list}, check_hashes)["sha256"])


def check_hashes(found: Mapping[str, Any]) -> None:
    """Refuse a list of anything but texts.

    Raises:
        ValueError: If it is one.
    """
    if not all(isinstance(sha256, str) for sha256 in found["sha256"]):
        raise ValueError("has a 'sha256' that holds no hashes")
