"""How are options read from YAML? By parsers that refuse what no configuration is, and print enumerations too."""

from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from augment.runtime.yaml_text import check_text, compose

read_value = get_loader("yaml")
"""jsonargparse's own way to read a value."""


def check_file(path: str | Path) -> None:
    """Refuse a file that is no configuration.

    Raises:
        ValueError: Naming the file, and the line if it is a line's fault.
    """
    if not isinstance(compose(path), yaml.MappingNode):
        raise ValueError(f"'{path}' holds no options, which are written as `name: value`")


def load(text: str) -> Any:
    """The value that a text stands for, on the command line or in a file."""
    if any(character in text for character in "[{\n"):
        check_text(text)
    return read_value(text)


def represent_enum(dumper: yaml.SafeDumper, value: Enum) -> yaml.Node:
    """A member of an enumeration as its value; Lightning's `Timer` has one as a default."""
    return dumper.represent_data(value.value)


def install() -> None:
    """Let every parser of options read YAML like this, and write enumerations too."""
    set_loader("yaml", load, exceptions=(yaml.YAMLError,))
    yaml.SafeDumper.add_multi_representer(Enum, represent_enum)
