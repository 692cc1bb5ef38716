"""How is a short command spelt out for the parser? `--images`, `--prompt` and their like become options with dots.

What stands without a dot on a command's page is replaced by the parser's own option. What a backbone's name brings
comes first, so that all that the user gives, in files and options, wins over it.
"""

import difflib
import json
from collections.abc import Iterator, Sequence

from augment.commands.page import Option, Page
from augment.errors import UserError

OF_SOURCE = (
    "images",
    "test_images",
    "labels",
    "split",
    "test_split",
    "image_column",
    "label_column",
    "subset",
    "root",
)
"""Options that say together where the real images are: the arguments of `source_of`."""

SOURCE_OF = "augment.images.source_of.source_of"
PASSED = ("help", "print_config")
GROUPS = ("model", "data", "source")
"""The parser's own options without a dot: a file with settings, or the name of a class."""


def spell_out(page: Page, words: Sequence[str]) -> list[str]:
    """The words of a command as its parser knows them.

    Args:
        page: Of the command.
        words: As the user typed them, after the command's name.

    Raises:
        UserError: If an option without a dot is unknown, or a photo folder comes without a backbone.
    """
    given: dict[str, str] = {}
    spelt: list[str] = []
    told = False
    for name, values, typed in options_in(words):
        if name == "" or name in PASSED or name in GROUPS or "." in name:
            told = told or name in GROUPS or ("." in name and not name.startswith("trainer."))
            spelt += typed
        elif name not in page.options:
            raise mistyped(name, page)
        elif (name in OF_SOURCE and page.source) or name in ("backbone", "tuned"):
            given[name] = only_one(name, values)
        else:
            told = told or name == "config"
            given[name] = values[0] if values else "true"
            spelt += spelt_option(page.options[name], values)
    images = {name: given[name] for name in OF_SOURCE if name in given}
    if images and "images" not in images:
        raise UserError(next(iter(images)), "belongs to images, and none are given", "give `images` too")
    first = page.first(given, told)
    source = {"class_path": SOURCE_OF, "init_args": images}
    return [
        *(["--config", json.dumps(first)] if first else []),
        *([f"--{page.source}", json.dumps(source)] if images else []),
        *spelt,
    ]


def options_in(words: Sequence[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each option without its dashes, its values, and all its words as typed; "" for words before any option."""
    typed: list[str] = []
    for word in [*words, "--"]:
        if (word.startswith("--") or word == "-c") and typed:
            name, equals, value = typed[0].partition("=") if typed[0].startswith("-") else ("", "", "")
            name = {"-c": "config"}.get(name, name.removeprefix("--"))
            yield (
                name if "." in name else name.replace("-", "_"),
                ([value] if equals else []) + typed[1:] if name else typed,
                typed,
            )
            typed = []
        typed.append(word)


def spelt_option(option: Option, values: list[str]) -> list[str]:
    """One option under the parser's names for it."""
    if option.value and not values:
        values = [option.value]
    elif option.null and values == [option.null]:
        values = ["null"]
    elif option.many and values:
        values = [as_list(values)]
    return [word for flag in (option.sets or option.name).split() for word in (f"--{flag}", *values)]


def only_one(name: str, values: list[str]) -> str:
    """The value of an option that has one."""
    if len(values) != 1:
        raise UserError(name, f"has {len(values)} values instead of one", "quote a value that holds spaces")
    return values[0]


def as_list(values: list[str]) -> str:
    """Several words as the parser reads a list; a list in brackets stays as it is."""
    if len(values) == 1 and values[0].startswith("["):
        return values[0]
    return json.dumps([int(value) if value.lstrip("-").isdigit() else value for value in values])


def mistyped(name: str, page: Page) -> UserError:
    """What is said of an option that is none."""
    near = difflib.get_close_matches(name, page.options, 1)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return UserError(f"--{name}", f"is no option of {page.command}", f"{hint}see {page.command} --help")
