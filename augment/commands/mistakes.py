"""Which mistakes does the parser itself not see, or not say well? Numbers without an end, and names of classes."""

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, get_args

from jsonargparse import Namespace

CLASS_WANTED = re.compile(r'Parser key "([\w.]+)".*Expected a dot import path string', re.DOTALL)


UNKNOWN = re.compile(r"[Uu]nrecognized arguments: (--\S+)")
BAD_CHOICE = re.compile(r'Parser key "(\S+)": Expected a Literal\[(.+?)\]\. Got value: (\S+)')
BAD_VALUE = re.compile(r'Parser key "(\S+)": ')


def endless(value: object, name: str = "") -> Iterator[str]:
    """Names of the options whose numbers are infinite or NaN, however deep they lie."""
    if isinstance(value, float) and not isfinite(value):
        yield f"{name}: {value} is not a finite number"
    elif isinstance(value, Namespace):
        yield from endless(vars(value), name)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from endless(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from endless(part, name)


def with_choices(message: str, actions: Sequence[Any]) -> str:
    """A parser's message that a class is unknown, with the names of those that the option takes."""
    found = CLASS_WANTED.search(message)
    hints = [getattr(action, "_typehint", None) for action in actions if found and action.dest == found[1]]
    names = sorted({name for hint in hints for name in subclasses(hint)})
    return f"{message}; choose from {', '.join(names)}" if names and "choose from" not in message else message


def subclasses(hint: Any) -> Iterator[str]:
    """Names of the classes that can stand where a type hint asks for one."""
    for kind in get_args(hint) or (hint,):
        if inspect.isclass(kind) and kind is not type(None):
            if not inspect.isabstract(kind):
                yield kind.__name__
            for below in kind.__subclasses__():
                yield from subclasses(below)


def in_plain_words(message: str, options: Iterable[str]) -> str:
    """The parser's message with the option as it is typed, and the nearest right name beside a wrong one."""
    if found := UNKNOWN.search(message):
        near = difflib.get_close_matches(found[1].partition("=")[0], [f"--{name}" for name in options], 1)
        return f"{message}; did you mean {near[0]}?" if near else message
    if found := BAD_CHOICE.search(message):
        choices = [choice.strip("'\"") for choice in found[2].split(", ")]
        near = difflib.get_close_matches(found[3], choices, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"--{found[1]}: '{found[3]}' is unknown; {hint}choose from {', '.join(choices)}"
    return BAD_VALUE.sub(r"--\1: ", message)
