"""What may be written into a dataset folder, and what may be deleted from it? Only files of the format, by name."""

import logging
import re
from pathlib import Path
from typing import Any

from augment.dataset.card import render
from augment.dataset.manifest import MANIFEST, check_manifest, read_manifest
from augment.dataset.shard_writer import note_path
from augment.errors import UserError
from augment.runtime.claim import check_same, read_claim
from augment.runtime.files import write_json, write_text

log = logging.getLogger(__name__)

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
        Whether the folder holds this dataset, begun or finished, or one of fewer images per class that it grows from.

    Raises:
        UserError: If it holds something else.
    """
    found = read_claim(folder, MANIFEST, "dataset")
    if found is None:
        return False
    check_manifest(folder / MANIFEST, found)
    if found["fingerprint"] == manifest["fingerprint"] or is_smaller(found["config"], manifest["config"]):
        return True
    if not overwrite:
        remedy = "choose another `output`, or pass `overwrite` to delete it"
        check_same(folder, "dataset", found["config"], manifest["config"], remedy)
    check_all_ours(folder)
    return False


def is_smaller(config: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether two configurations differ in nothing but the number of images per class, and the first has fewer."""
    size, plan = config.get("plan", {}).get("per_class"), wanted.get("plan", {})
    if not isinstance(size, int) or size >= plan.get("per_class", 0):
        return False
    return config == wanted | {"plan": plan | {"per_class": size}}


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
    could be taken for a new one. A smaller dataset becomes the unfinished beginning of this one.

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
        elif read_manifest(folder)["fingerprint"] != manifest["fingerprint"]:
            grow(folder, manifest)
        if not read_manifest(folder)["shards"]:
            (folder / "_info.json").unlink(missing_ok=True)  # of the smaller dataset; written last
        sweep(folder)
    except OSError as error:
        raise UserError(
            "output", f"'{folder}' cannot be written ({error.strerror or error})", "choose another `output`"
        ) from error


def grow(folder: Path, manifest: dict[str, Any]) -> None:
    """Make a smaller dataset the unfinished beginning of a larger one; all of its shards stay until they are replaced.

    The shards' hashes are noted as those of committed ones before the description changes: a kill before leaves the
    smaller dataset as it was, one after leaves the larger one unfinished.
    """
    found, card = read_manifest(folder), folder / "README.md"
    for name, facts in found["shards"].items():
        write_text(note_path(folder / name), facts["sha256"])
    if card.is_file() and found["shards"]:
        if card.read_text(encoding="utf-8") == render(found, folder.resolve().name):
            card.unlink()
        else:
            log.warning("'%s' was edited and is kept; its numbers are those of the smaller dataset", card)
    write_json(folder / MANIFEST, manifest | {"versions": found["versions"]})  # those that began it


def sweep(folder: Path) -> None:
    """Remove what a killed run had begun to write."""
    for partial in folder.glob(".*.partial"):
        partial.unlink()
