"""Can a folder be made here? Asked before any work is spent on what goes into it."""

from pathlib import Path

from augment.errors import UserError


def check_folder(folder: Path, argument: str) -> None:
    """Refuse a path where no folder is and none can be made, because of its name or of a file in its way.

    Args:
        folder: Need not be there.
        argument: What the path is called, for the error.

    Raises:
        UserError: If a part of the path is a file, is longer than the file system takes, or is not UTF-8.
    """
    remedy = f"choose another `{argument}`"
    try:
        str(folder).encode()
        for path in (*reversed(folder.parents), folder):
            if path.exists() and not path.is_dir():
                raise UserError(argument, f"'{path}' is no folder", remedy)
    except UnicodeEncodeError as error:
        raise UserError(argument, f"{str(folder)!r} is not UTF-8", remedy) from error
    except OSError as error:
        raise UserError(argument, f"'{folder}' cannot be a folder ({error.strerror})", remedy) from error
