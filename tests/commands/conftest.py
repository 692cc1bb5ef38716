"""The real parser of every command."""

from importlib import import_module
from typing import Any

import pytest

import augment.cli
import classify.cli
from augment.commands.parsing import OneLineErrors

COMMANDS = {f"augment {name}": place for name, place in augment.cli.COMMANDS.items() if name != "backbones"}
COMMANDS |= {f"classify {name}": place for name, place in classify.cli.COMMANDS.items()}


class ParsedError(Exception):
    """In place of the parser's work."""


@pytest.fixture(scope="session")
def parsers() -> dict[str, Any]:
    """The real parser of every command that has one."""
    found: dict[str, Any] = {}

    def keep(self: Any, *args: Any, **kwargs: Any) -> None:
        found[self.prog] = self
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OneLineErrors, "parse_args", keep)
        for place in COMMANDS.values():
            module, _, function = place.partition(":")
            with pytest.raises(ParsedError):
                getattr(import_module(module), function)([])
    assert found.keys() == COMMANDS.keys()
    return found
