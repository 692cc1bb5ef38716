"""Where do the real images of a run lie? A source's class and arguments as JSON, and the source made from them."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augment.errors import UserError
from augment.images.sources import ImageSource
from augment.runtime.json_files import parse_object


def describe_source(source: ImageSource) -> dict[str, Any] | None:
    """The source's class and arguments, as a configuration names them; paths are absolute.

    Args:
        source: One that keeps each argument of its constructor as an attribute of the same name.

    Returns:
        What `restore_source` takes, or None for a source that does not keep them or whose arguments are no JSON.
    """
    kind = type(source)
    try:
        arguments = {name: getattr(source, name) for name in inspect.signature(kind).parameters}
        read_back = parse_object(json.dumps(arguments, default=_absolute).encode())
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None
    return {"class_path": _name(kind), "init_args": read_back}


def restore_source(described: Any) -> ImageSource | None:
    """The source that was described; None where that says nothing, or names no class of sources that is loaded."""
    if not isinstance(described, dict) or not isinstance(described.get("init_args"), dict):
        return None
    kinds = {_name(kind): kind for kind in _subclasses(ImageSource)}  # nothing is imported for the sake of a file
    kind = kinds.get(str(described.get("class_path")))
    try:
        return None if kind is None else kind(**described["init_args"])
    except (TypeError, UserError):  # of another version, or gone
        return None


def _absolute(value: object) -> str:
    if not isinstance(value, Path):
        raise TypeError
    return str(value.absolute())


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _subclasses(kind: type[Any]) -> Iterator[type[ImageSource]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
