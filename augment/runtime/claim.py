"""Whose is an output folder? A file in it says what work it holds; a folder of anything else is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.errors import UserError
from augment.runtime.fingerprint import first_difference
from augment.runtime.place import check_folder


def read_claim(folder: Path, marker: str, kind: str) -> dict[str, Any] | None:
    """What the folder says of the work in it; None for a folder that is empty or not there.

    Args:
        folder: Where work is to be written.
        marker: Name of the JSON file that describes the work.
        kind: What the work is called, such as `dataset`.

    Raises:
        UserError: If the folder holds something else, or its description cannot be read.
    """
    check_folder(folder, "output")
    path = folder / marker
    if path.is_file():
        return read_object(path, "output", f"choose another `output`, or delete the {kind}")
    if folder.exists() and (not folder.is_dir() or any(entry.suffix != ".partial" for entry in folder.iterdir())):
        raise UserError("output", f"'{folder}' is not empty and holds no {kind}", "choose another `output`")
    return None


def read_object(path: Path, argument: str, remedy: str) -> dict[str, Any]:
    """A JSON file that must hold an object.

    Raises:
        UserError: If it does not.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(argument, f"'{path}' is not JSON ({reason})", remedy) from error
    if not isinstance(content, dict):
        raise UserError(argument, f"'{path}' holds no JSON object but {type(content).__name__}", remedy)
    return content


def check_same(folder: Path, kind: str, found: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str) -> None:
    """Refuse a folder whose work has another configuration, showing the first place where the two differ.

    Raises:
        UserError: If they differ.
    """
    if found != wanted:
        where, old, new = first_difference(found, wanted)
        raise UserError(
            "output",
            f"'{folder}' holds a {kind} of another configuration ({where}: {old!r} there, {new!r} here)",
            remedy,
        )
