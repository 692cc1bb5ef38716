"""How do commands write to a terminal? What they show is data, never markup; a console and a format of logs."""

import logging
from typing import Any

from rich.console import Console
from rich.text import Text

from augment.runtime.foreign_text import plain


class PlainConsole(Console):
    """A console that shows texts and cells of tables as they are, without rich's markup and emoji codes."""

    def __init__(self, stderr: bool = False, width: int | None = None, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, width=width, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """What every text becomes on its way to the terminal."""
        return super().render_str(plain(text), **options)


class PlainFormatter(logging.Formatter):
    """Formats records of a log likewise: their arguments are names of files and classes."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return plain(super().format(record))
