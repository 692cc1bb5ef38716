"""What must the files of a study hold? The entries that its readers use, with their types, before they use them."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from augment.errors import UserError
from augment.measure.adequacy import Adequacy
from augment.measure.latents import LatentStatistics
from augment.runtime.json_files import Kinds, Number, check_kinds

Check = Callable[[dict[str, Any]], None]
"""Raises a ValueError for what an object of the right entries still must not hold."""

DESCRIPTION: Kinds = {"rows": dict, "classifiers": dict, "source": dict, "steps": int, "versions": dict}
LAST_RUN: Kinds = {"command": str, "reference": str | None, "cells": list, "seed": int, "shots": int}
RUN: Kinds = {"seconds": dict, "images": int}
SET: Kinds = {"latents": dict | None}
INVERSION: Kinds = {"new": Number, "seconds": Number, "psnr": Number, "latents": dict}
CELL: Kinds = {
    "key": str,
    "row": str,
    "classifier": str,
    "shots": int,
    "seed": int,
    "dataset": str | None,
    "set": dict,
    "caveats": list,
    "seconds": dict,
    "top1": Number,
    "per_class": dict,
}


def kinds_of(value: type) -> Kinds:
    """The entries that a dataclass of texts and numbers must have, as JSON has them."""
    needed = (field for field in fields(value) if field.default is MISSING)
    return {field.name: Number if field.type is float else field.type for field in needed}  # type: ignore[misc]


def check_adequacy(found: Mapping[str, Any]) -> None:
    """Refuse counts that are none; a verdict of before they were kept has none of them.

    Raises:
        ValueError: Saying what is wrong.
    """
    counts = {field.name for field in fields(Adequacy) if field.default is not MISSING}
    check_kinds(found, dict.fromkeys(counts & found.keys(), int | None))


def nothing_more(found: Mapping[str, Any]) -> None:
    """The check of a file whose entries' types are all that its readers rely on."""


def read_table(path: Path) -> pd.DataFrame:
    """A study's `results.csv`.

    Raises:
        UserError: If it is no table, or lacks what rows are ranked by.
    """
    remedy = "run `classify study` on its folder again"
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        reason = " ".join(str(error).split())
        raise UserError("studies", f"'{path}' is no table ({reason})", remedy) from error
    for column in ("classifier", "shots", "row", "top1"):
        if column not in table:
            raise UserError("studies", f"'{path}' has no column {column}", remedy)
    if table.empty or not is_numeric_dtype(table["top1"]) or table["top1"].isna().any():
        raise UserError("studies", f"'{path}' has no accuracy in each of its lines", remedy)
    return table


def check_last_run(found: Mapping[str, Any]) -> None:
    """Refuse what the last command asked for if it names files outside of the folder.

    Raises:
        ValueError: Saying what is wrong.
    """
    check_texts(found["cells"], "cells")
    for name in found["cells"]:
        check_name(name)


def check_cell(found: Mapping[str, Any]) -> None:
    """Refuse results that no cell noted.

    Raises:
        ValueError: Saying what is wrong.
    """
    if found["dataset"] is not None:
        check_name(found["dataset"])
    check_texts(found["caveats"], "caveats")
    check_kinds(found["set"], dict.fromkeys(found["set"], Number))
    check_kinds(found["per_class"], dict.fromkeys(found["per_class"], Number))
    check_kinds(found["seconds"], dict.fromkeys(("synthesize", "train"), Number | None))


def check_set(found: Mapping[str, Any]) -> None:
    """Refuse what was never measured on a set.

    Raises:
        ValueError: Saying what is wrong.
    """
    if "metrics" in found:
        check_kinds(found, {"metrics": dict, "caveats": list, "seconds": Number | None})
        check_kinds(found["metrics"], dict.fromkeys(found["metrics"], Number))
    if found["latents"] is not None:
        check_latents(found)


def check_latents(found: Mapping[str, Any]) -> None:
    """Refuse statistics of latents that are none.

    Raises:
        ValueError: Saying what is wrong.
    """
    wanted = kinds_of(LatentStatistics)
    check_kinds(found["latents"], wanted)
    if unknown := found["latents"].keys() - wanted:
        raise ValueError(f"has statistics of latents that are none: {min(unknown)!r}")


def check_run(found: Mapping[str, Any]) -> None:
    """Refuse an account of a run without its seconds.

    Raises:
        ValueError: Saying what is wrong.
    """
    check_kinds(found["seconds"], {"synthesize": Number})


def check_texts(values: list[Any], what: str) -> None:
    """Refuse a list of anything but texts.

    Raises:
        ValueError: If it is one.
    """
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"has {what} that are no texts")


def check_name(name: str) -> None:
    """Refuse a name that leads out of its folder.

    Raises:
        ValueError: If it does.
    """
    if Path(name).name != name or "\0" in name:
        raise ValueError(f"names a file {name!r} outside of its folder")
