"""Which flag does a library's name have in this command? What a UserError says is written in the command's own options.

The library names its arguments in backticks, by dotted names: `shots`, `inversion.steps`, `source.path`. The command
that runs has some of them under names of its own, such as --model.inversion.steps, and knows nothing of others.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from augment.commands.page import Page
from augment.errors import UserError

NAME = re.compile(r"`([a-z_]\w*(?:\.\w+)*)`")


@dataclass(frozen=True)
class Flags:
    """The options of one command.

    Attributes:
        options: The option of each dotted name that the command knows, both without dashes; where an option decides
            several arguments, all of their names lead to it.
        open: Those whose own arguments have no option of their own: classes to choose from, and mappings.
    """

    options: Mapping[str, str]
    open: frozenset[str] = frozenset()

    def find(self, name: str) -> str | None:
        """The command's shortest option for a library's name, without dashes; None if it has none.

        The name is the option's, or its end (`shots` is data.shots); or the beginning of the name is, and stands for a
        class or a mapping (`source.path` is data.source.path where data.source exists).
        """
        if found := self._options(name, self.options):
            return found
        owner, _, rest = name.rpartition(".")
        while owner:
            if found := self._options(owner, self.open):
                return f"{found}.{rest}"
            owner, _, last = owner.rpartition(".")
            rest = f"{last}.{rest}"
        return None

    def _options(self, name: str, known: Mapping[str, str] | frozenset[str]) -> str | None:
        matches = {self.options[key] for key in known if key == name or key.endswith(f".{name}")}
        return min(matches, key=lambda option: (len(option), option), default=None)

    def spell(self, text: str) -> str:
        """The text with every name that is an option written as its flag; other names stay as they are."""
        return NAME.sub(lambda name: f"--{flag}" if (flag := self.find(name[1])) else name[0], text)


def flags_of(defaults: Mapping[str, Any], positionals: Collection[str], links: Mapping[str, str]) -> Flags:
    """The options of a parser.

    Args:
        defaults: Default of each option, by dotted name; below an option for a class stand those of its default class.
        positionals: Names that are typed without a flag.
        links: Names that take their value from another option.
    """
    options: dict[str, str] = {}
    opened: set[str] = set()
    for key, default in defaults.items():
        if key in positionals:
            continue
        name = key.replace(".init_args", "").removesuffix("class_path").rstrip(".")
        if key.endswith("class_path") or default is None or isinstance(default, dict):
            opened.add(name)
        parts = name.split(".")
        options |= {group: group for n in range(1, len(parts) + 1) if (group := ".".join(parts[:n])) not in options}
    linked = {target.replace(".init_args", ""): source.replace(".init_args", "") for target, source in links.items()}
    options |= {target: options[source] for target, source in linked.items() if source in options}
    return Flags(options, frozenset(opened))


def mistake_in(error: BaseException | None) -> UserError | None:
    """The user's mistake that an error is, or was raised from: a parser wraps what a class says when it is made."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def one_line(error: UserError, flags: Flags) -> str:
    """What a command prints of a mistake: `argument: problem; remedy`, in its own flags."""
    spelt = UserError(error.argument, flags.spell(error.problem), flags.spell(error.remedy))
    return " ".join(str(spelt).split())


class RunningCommand:
    """The command that this process runs: its page is known at once, its parser's options once they have been read."""

    def __init__(self) -> None:
        self._short: Mapping[str, str] = {}
        self._flags: Callable[[], Flags] = lambda: Flags({})

    def begin(self, page: Page) -> None:
        """From now on mistakes are told in the short options of this page."""
        self._short = page.names | {name: name for name in page.options}
        self._flags = lambda: Flags({})

    def parsed(self, flags: Callable[[], Flags]) -> None:
        """From now on, also in the parser's options, which are only asked for then."""
        self._flags = flags

    def say(self, error: UserError) -> str:
        """The mistake as one line, in the flags of the command that runs."""
        flags = self._flags()
        return one_line(error, Flags({**flags.options, **self._short}, flags.open))


running = RunningCommand()
