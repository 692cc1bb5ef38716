"""Where does a study keep its files, and what do they say?"""

import json
from pathlib import Path
from typing import Any

from augment.errors import UserError
from augment.runtime.files import write_json
from augment.runtime.fingerprint import first_difference


def write_note(path: Path, content: dict[str, Any]) -> None:
    """Write JSON whole, into a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def agree(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The study's description with what it held before; rows, classifiers, shots and seeds may be added at any time.

    Raises:
        UserError: If the folder holds a study of another configuration.
    """
    path = folder / "study.json"
    if not path.is_file():
        return wanted
    found = json.loads(path.read_text(encoding="utf-8"))
    joined = {**wanted, **{part: found[part] | wanted[part] for part in ("rows", "classifiers")}}
    for part in ("rows", "classifiers"):
        found[part] = joined[part] | found[part]
    if found != joined:
        where, old, new = first_difference(found, joined)
        raise UserError(
            f"output: '{folder}' holds a study of another configuration ({where}: {old!r} there, {new!r} here); "
            f"choose another --output"
        )
    return joined
