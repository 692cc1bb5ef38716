"""Are these the settings of a class? A mapping, parsed by the class's own type hints."""

from collections.abc import Collection, Mapping
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from augment.errors import UserError


def checked(kind: type, settings: Mapping[str, Any], argument: str, skip: Collection[str] = ()) -> dict[str, Any]:
    """Arguments of a class, with its defaults for what is not given.

    Args:
        kind: The class.
        settings: What is given, by name.
        argument: What the settings are called, for the error.
        skip: Arguments of the class that are no settings.

    Raises:
        UserError: If one is not among the class's arguments, or has a value that it cannot take.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "settings", skip=set(skip))
    try:
        parsed = parser.parse_object({"settings": dict(settings)})
    except ArgumentError as error:
        words = str(error).replace("Group 'settings' does not accept option", "there is no setting").split()
        line = " ".join(words).replace("settings.", "")
        raise UserError(argument, line, "see the documentation of the settings") from error
    return dict(parsed.settings.as_dict())
