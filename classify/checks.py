"""What is refused before a study runs? Rows that cannot work, and a folder that holds another study."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from augment.data import ImageSource
from augment.errors import UserError
from augment.manifest import first_difference
from augment.synthesis_data import SynthesisData, check_method
from augment.synthesizer import Synthesizer
from classify.filter import load_filter
from classify.grid import Row


def check_rows(rows: Sequence[Row], synthesizer: Synthesizer, source: ImageSource, skip_bad: bool) -> None:
    """Refuse a row that cannot be run with its batches, its backbone or its fewest shots, before anything is.

    Raises:
        UserError: Naming the row and the number of shots.
    """
    for row in rows:
        try:
            row.batches.check(row.method is not None, processes=1)
        except UserError as error:
            raise UserError(f"methods: row '{row.name}': {error}") from error
        if row.method is None:
            if row.filter is not None:
                raise UserError(f"methods: row '{row.name}' has a filter, but no synthetic images; leave it out")
            continue
        shots = min(row.shots)
        try:
            data = SynthesisData(
                "", source, row.method, shots, mixing=row.mixing, skip_bad=skip_bad, settings=row.settings
            )
            check_method(synthesizer, data)
            if row.filter is not None:
                load_filter(row.filter)
        except UserError as error:
            raise UserError(f"methods: row '{row.name}' at {shots} shots: {error}") from error


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
