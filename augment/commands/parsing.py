"""How does a command parse its options? With its mistakes in one line; nothing heavy is imported for it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from augment.commands.flags import Flags, flags_of, running
from augment.commands.mistakes import endless, in_plain_words, with_choices
from augment.commands.yaml_files import check_file, install
from augment.runtime.foreign_text import plain


def add_switch(parser: ArgumentParser, name: str, help_text: str) -> None:
    """An option that is on when it is named, and that a YAML file may set too; dashes work like underscores."""
    spellings = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
    parser.add_argument(*spellings, type=bool, nargs="?", const=True, default=False, help=help_text)


class OneLineErrors:
    """A parser that answers bad input with one line and exit code 2, not its whole usage, and knows its own flags."""

    prog: str
    positionals: frozenset[str] = frozenset()
    links: Mapping[str, str] = MappingProxyType({})

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Remember what is typed without a flag."""
        if not args[0].startswith("-"):  # never in a group, which borrows this method and has no such set
            self.positionals |= {args[0]}
        return super().add_argument(*args, **kwargs)  # type: ignore[misc]

    def link_arguments(self, source: Any, target: str, *args: Any, **kwargs: Any) -> None:
        """Remember which arguments have no option of their own."""
        if isinstance(source, str):
            self.links = {**self.links, target: source}
        super().link_arguments(source, target, *args, **kwargs)  # type: ignore[misc]

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, and tell mistakes in these options from here on."""
        install()
        try:
            parsed = super().parse_args(*args, **kwargs)  # type: ignore[misc]
        except UnicodeDecodeError as error:
            self.error(f"a file that these options name is not UTF-8 ({error})")
        running.parsed(self.flags)
        if name := next(endless(parsed), None):
            self.error(name)
        return parsed

    def parse_path(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """Parse a configuration once it is known to be one."""
        try:
            if Path(path).is_file():
                check_file(path)
        except ValueError as error:
            self.error(str(error))
        return super().parse_path(path, *args, **kwargs)  # type: ignore[misc]

    def flags(self) -> Flags:
        """The command's options, by the names that the library may use for them."""
        defaults = self.get_defaults(skip_validation=True)  # type: ignore[attr-defined]
        return flags_of(dict(defaults.items()), self.positionals, self.links)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and leave; a parser of a part of the options leaves that to the whole one."""
        message = with_choices(message, self._actions)  # type: ignore[attr-defined]
        if not self.exit_on_error:  # type: ignore[attr-defined]
            super().error(message, ex)  # type: ignore[misc]
        line = in_plain_words(" ".join(message.replace("typing.", "").split()), self.flags().options)
        print(plain(f"{self.prog}: {line} (see {self.prog} --help)"), file=sys.stderr)
        raise SystemExit(2)


class CommandParser(OneLineErrors, ArgumentParser):
    """For commands that neither train nor predict."""
