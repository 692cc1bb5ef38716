"""How do commands parse their options? As LightningCLI and jsonargparse do, with errors in one line."""

import sys
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI


class OneLineErrors:
    """A parser that answers bad input with one line and exit code 2, instead of its whole usage."""

    prog: str

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and leave."""
        line = " ".join(message.replace("typing.", "").split())
        print(f"{self.prog}: {line} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


class CommandParser(OneLineErrors, ArgumentParser):
    """For commands that neither train nor predict."""


class _LightningParser(OneLineErrors, LightningArgumentParser):
    """For commands around a trainer."""


class OutputCLI(LightningCLI):
    """LightningCLI with `--output`, the one folder that a command writes to."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser with one-line errors."""
        self.parser_class = _LightningParser
        return super().init_parser(**kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Lightning's own files go to the output folder too, not to the working directory."""
        parser.add_argument("--output", type=str, required=True, help="Folder to write to.")
        parser.link_arguments("output", "trainer.default_root_dir")
