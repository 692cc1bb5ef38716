"""What does a command say of itself? Its first screen, and the options that are typed without a dot.

Nothing here needs the libraries that the commands work with, so `--help` and most mistakes are answered at once.
"""

import shutil
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LEFT = 25
"""Columns that an option's name takes on the first screen."""


@dataclass(frozen=True)
class Option:
    """An option without a dot.

    Attributes:
        name: As it is typed, without dashes.
        text: What it decides, a full sentence.
        default: What holds where it is not given, in words for the screen.
        sets: The parser's own options, where they have other names; a space between two.
        value: What a switch sets there.
        null: A word that the parser reads as null.
        many: Whether several words may follow it.
        rare: Whether it is left out of the first screen.
        also: Names that the library's mistakes may call it by.
    """

    name: str
    text: str = ""
    default: str = ""
    sets: str = ""
    value: str = ""
    null: str = ""
    many: bool = False
    rare: bool = False
    also: tuple[str, ...] = ()


def nothing(given: Mapping[str, str], told: bool) -> dict[str, Any]:
    """No configuration of its own."""
    return {}


@dataclass(frozen=True)
class Page:
    """A command's first screen.

    Attributes:
        command: As it is typed.
        sentence: What it does.
        examples: Command lines to copy.
        groups: Options under their headings.
        synopsis: What follows the command's name in the usage line.
        source: The parser's option for the source of images; empty if there is none.
        first: The configuration that comes before all that the user gives, from the short options and whether the user
            has told the rest by files or options with dots.
    """

    command: str
    sentence: str
    examples: tuple[str, ...]
    groups: dict[str, tuple[Option, ...]]
    synopsis: str = "[options]"
    source: str = ""
    first: Callable[[Mapping[str, str], bool], dict[str, Any]] = nothing

    @property
    def options(self) -> dict[str, Option]:
        """All options by name."""
        return {option.name: option for group in self.groups.values() for option in group}

    @property
    def names(self) -> dict[str, str]:
        """The short option that stands for each name of the parser or the library."""
        named = [option for option in self.options.values() if not option.value]
        return {name: option.name for option in named for name in (*option.sets.split(), *option.also)}

    def screen(self) -> str:
        """The page as text, at most as wide as the terminal."""
        width = min(shutil.get_terminal_size().columns, 110)
        return "\n".join(self._lines(width))

    def _lines(self, width: int) -> Iterator[str]:
        yield f"usage: {self.command} {self.synopsis}"
        yield ""
        yield from textwrap.wrap(self.sentence, width)
        yield ""
        yield from (f"  {example}" for example in self.examples)
        for title, options in self.groups.items():
            shown = [option for option in options if not option.rare]
            if shown:
                yield ""
                yield f"{title}:"
            for option in shown:
                yield from describe(option, width)
        yield ""
        if self.groups:
            yield f"{self.command} --help all prints every option there is."


def describe(option: Option, width: int) -> list[str]:
    """One option on the screen: its name, then what it decides."""
    text = option.text + (f" [{option.default}]" if option.default else "")
    name = f"  --{option.name}"
    lines = textwrap.wrap(text, width - LEFT)
    if len(name) >= LEFT:
        return [name, *(" " * LEFT + line for line in lines)]
    return [f"{name:<{LEFT}}{lines[0]}", *(" " * LEFT + line for line in lines[1:])]
