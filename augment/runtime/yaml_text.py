"""How is YAML read? In UTF-8, no key twice, nothing without end; every fault names the file and the line."""

from pathlib import Path
from typing import Any

import yaml

DEEPEST = 100
"""Levels of lists and mappings; the parsers of YAML recurse, and configurations have six."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def compose(path: str | Path) -> yaml.Node | None:
    """The parsed YAML of a file; None where it is empty.

    Raises:
        ValueError: Naming the file, and the line if it is a line's fault.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
        check_text(text)
        root: yaml.Node | None = yaml.compose(text, Loader=LOADER)
        return root
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"'{path}', line {line}: it is not UTF-8 ({error.reason})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ValueError(f"'{path}'{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:  # of characters: it knows their position only
        raise ValueError(f"'{path}' is no YAML ({error})") from error


def read_texts(path: str | Path) -> Any:
    """The lists and mappings of a file, with every word as text: a class called `no` or `1` keeps its name.

    Raises:
        ValueError: As `compose`.
    """
    root = compose(path)
    return None if root is None else yaml.constructor.BaseConstructor().construct_document(root)


def check_text(text: str) -> None:
    """Refuse YAML with a key twice, an endless loop, or nested so deeply that reading it would end the process.

    Raises:
        YAMLError: Saying where.
    """
    open_keys: list[set[str] | None] = []  # of the mappings and lists around; None for a list
    at_key: list[bool] = []
    anchors: list[str | None] = []
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            for around in (open_keys, at_key, anchors):
                around.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        if isinstance(event, yaml.AliasEvent) and event.anchor in anchors:
            raise refused(event, f"'{event.anchor}' holds itself")
        if open_keys and (keys := open_keys[-1]) is not None:
            if at_key[-1] and isinstance(event, yaml.ScalarEvent):
                if event.value in keys:
                    raise refused(event, f"the key '{event.value}' is there twice")
                keys.add(event.value)
            at_key[-1] = not at_key[-1]
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_keys) == DEEPEST:
                raise refused(event, f"more than {DEEPEST} levels are nested")
            open_keys.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
            at_key.append(True)
            anchors.append(event.anchor)


def refused(event: Any, problem: str) -> yaml.MarkedYAMLError:
    """The error for what stands there."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
