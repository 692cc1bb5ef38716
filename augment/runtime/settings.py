"""Are these the settings of a class? A mapping, parsed by the class's own type hints."""

import inspect
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
    known = [name for name in inspect.signature(kind).parameters if name not in skip]
    if unknown := [name for name in settings if name not in known]:
        raise UserError(argument, f"there is no setting '{unknown[0]}'", f"choose from {', '.join(known)}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, skip=set(skip))
    try:
        return dict(parser.parse_object(dict(settings)).as_dict())
    except ArgumentError as error:
        problem = " ".join(str(error).split())
        raise UserError(argument, problem, "give a value that this setting takes") from error
