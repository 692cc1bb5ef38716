"""How do commands parse their options and speak? As LightningCLI does, with errors in one line and no chatter."""

import logging
import sys
import warnings
from typing import Any, NoReturn

import diffusers
import transformers
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI


def quiet() -> None:
    """Let the commands' own words be heard: no start-up banners and tips of the libraries."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "transformers", "diffusers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)


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
