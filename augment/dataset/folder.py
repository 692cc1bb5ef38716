"""What may be written into a dataset folder, and what may be deleted from it? Only files of the format, by name."""

import re
from pathlib import Path
from typing import Any

from augment.dataset.manifest import MANIFEST, check_manifest
from augment.errors import UserError
from augment.runtime.claim import check_same, read_claim
from augment.runtime.files import write_json

OURS = re.compile(
    r"(dataset|run|_info)\.json|README\.md|preview\.png|browse\.html|train-\d{6}\.tar|\.train-\d{6}\.tar\.sha256|\..*\.partial"
)
"""Names of the files that make up a dataset."""


def check_folder(folder: Path, manifest: dict[str, Any], overwrite: bool) -> bool:
    """Refuse a folder that holds anything but a dataset of this configuration, or one that may be deleted.

    Args:
        folder: Of the dataset.
        manifest: What is to be made.
        overwrite: Whether a dataset of another configuration may be deleted.

    Returns:
        Whether the folder holds this very dataset, begun or finished.

    Raises:
        UserError: If it holds something else.
    """
    found = read_claim(folder, MANIFEST, "dataset")
    if found is None:
        return False
    check_manifest(folder / MANIFEST, found)
    if found["fingerprint"] == manifest["fingerprint"]:
        return True
    if not overwrite:
        remedy = "choose another `output`, or pass `overwrite` to delete it"
        check_same(folder, "dataset", found["config"], manifest["config"], remedy)
    check_all_ours(folder)
    return False


def check_all_ours(folder: Path) -> None:
    """Refuse to delete from a folder that holds anything beside a dataset's own files.

    Raises:
        UserError: Naming what is foreign.
    """
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() or not OURS.fullmatch(entry.name))
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise UserError(
            "overwrite",
            f"'{folder}' holds {', '.join(map(repr, foreign[:3]))}{more}, which no dataset has; nothing was deleted",
            "move that away, or choose another `output`",
        )


def open_folder(folder: Path, manifest: dict[str, Any], overwrite: bool) -> None:
    """Make `folder` ready for the dataset that `manifest` describes; one of the same configuration is resumed.

    The new description comes first and names no shard, so that a kill while the old ones are deleted leaves none that
    could be taken for a new one.

    Raises:
        UserError: If the folder holds something else, or cannot be written.
    """
    resumed = check_folder(folder, manifest, overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resumed:
            write_json(folder / MANIFEST, manifest)
            for entry in folder.iterdir():
                if OURS.fullmatch(entry.name) and entry.name != MANIFEST:
                    entry.unlink()
        sweep(folder)
    except OSError as error:
        raise UserError(
            "output", f"'{folder}' cannot be written ({error.strerror or error})", "choose another `output`"
        ) from error


def sweep(folder: Path) -> None:
    """Remove what a killed run had begun to write."""
    for partial in folder.glob(".*.partial"):
        partial.unlink()
