"""How is text shown that others wrote, such as names of classes? It neither steers a terminal nor is markup."""

import logging
import re
from typing import Any

from rich.console import Console
from rich.text import Text

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and new line, those that turn the direction of writing, and halves of characters."""


def plain(text: str) -> str:
    r"""The text with every character that steers a terminal written as Python would: `\x1b`."""
    return STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class PlainConsole(Console):
    """A console that shows texts and cells of tables as they are, without rich's markup and emoji codes."""

    def __init__(self, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """What every text becomes on its way to the terminal."""
        return super().render_str(plain(text), **options)


class PlainFormatter(logging.Formatter):
    """Formats records of a log likewise: their arguments are names of files and classes."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return plain(super().format(record))
