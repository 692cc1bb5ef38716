"""How is JSON read? One object, in UTF-8, no key twice; every fault becomes one line. The only place that parses it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from augment.errors import UserError

Kinds = Mapping[str, type | UnionType]
"""What an object must hold: the type of each of its entries, by key."""

Number = int | float
"""A float, which JSON may have without its point."""


def parse(content: bytes) -> Any:
    """The JSON of these bytes, whatever it is.

    Raises:
        ValueError: If they are none; its text says what they do instead: `is not JSON (…)`, `has the key 'a' twice`.
    """
    twice: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                twice.append(key)
            seen[key] = value
        return seen

    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=collect)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({' '.join(str(error).split())[:200]})") from error
    if twice:
        raise ValueError(f"has the key {twice[0]!r} twice")
    return found


def parse_object(content: bytes) -> dict[str, Any]:
    """The JSON object of these bytes.

    Raises:
        ValueError: If they are none; its text says what they do instead, as that of `parse`.
    """
    found = parse(content)
    if not isinstance(found, dict):
        raise ValueError(f"holds no JSON object but {type(found).__name__}")
    return found


def check_kinds(found: Mapping[str, Any], kinds: Kinds) -> None:
    """Refuse an object that lacks an entry, or has one of another type.

    Raises:
        ValueError: Naming the entry.
    """
    for key, kind in kinds.items():
        if key not in found:
            raise ValueError(f"has no {key!r}")
        if not isinstance(found[key], kind):
            wanted = kind.__name__ if isinstance(kind, type) else str(kind)
            raise ValueError(f"has a {key!r} that is {type(found[key]).__name__} instead of {wanted}")


def read_object(
    path: Path,
    argument: str,
    remedy: str,
    kinds: Kinds | None = None,
    check: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """A JSON file that must hold an object.

    Args:
        path: Of the file.
        argument: What it belongs to, for the error.
        remedy: What to do if it is broken.
        kinds: What the object must hold, at least.
        check: Raises a ValueError that says what else is wrong: `has …`, `names …`.

    Raises:
        UserError: If it does not.
    """
    try:
        found = parse_object(path.read_bytes())
        check_kinds(found, kinds or {})
        check(found)
    except OSError as error:
        raise UserError(argument, f"'{path}' cannot be read ({error.strerror or error})", remedy) from error
    except ValueError as error:
        raise UserError(argument, f"'{path}' {error}", remedy) from error
    return found
