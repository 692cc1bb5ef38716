"""What was a model trained on? Hashes of its real images, in a file beside its weights."""

import json
from collections.abc import Iterable
from pathlib import Path

from augment.errors import UserError
from augment.runtime.files import write_json

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
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8"))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(argument, f"'{path}' cannot be read ({error!r})", "delete it") from error
