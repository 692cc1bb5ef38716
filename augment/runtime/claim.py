"""Whose is an output folder? A file in it says what work it holds; a folder of anything else is refused."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from augment.errors import UserError
from augment.runtime.fingerprint import first_difference
from augment.runtime.json_files import read_object
from augment.runtime.place import check_folder

LOCK = ".lock"
"""A file that stays in the folder, empty: whether it is locked counts, not whether it is there."""


@contextmanager
def kept_to_this_process(folder: Path, kind: str) -> Iterator[None]:
    """Keep a folder to this process inside the block, so that work started twice is not done twice at once.

    The operating system frees the lock when its holder ends, however that comes about. Between machines it holds where
    the network file system passes locks on, as NFS does; one that knows no locks gets a lock file instead, which a
    machine that loses its power may leave behind.

    Args:
        folder: Made, if it is not there yet.
        kind: What the work is called, such as `study`.

    Raises:
        UserError: If another process has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, blocking=False)
        lock.acquire()
    except Timeout as error:
        problem = f"the {kind} in '{folder}' is being run by another process"
        raise UserError("output", problem, "wait for its end, or stop it and run this command again") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError("output", f"'{folder}' cannot be written ({reason})", "choose another `output`") from error
    try:
        yield
    finally:
        lock.release()


def read_claim(folder: Path, marker: str, kind: str) -> dict[str, Any] | None:
    """What the folder says of the work in it; None for a folder that is empty or not there.

    Args:
        folder: Where work is to be written.
        marker: Name of the JSON file that describes the work.
        kind: What the work is called, such as `dataset`.

    Raises:
        UserError: If the folder holds something else, or its description cannot be read.
    """
    check_folder(folder, "output")
    path = folder / marker
    if path.is_file():
        return read_object(path, "output", f"choose another `output`, or delete the {kind}")
    if folder.exists() and (not folder.is_dir() or any(is_work(entry) for entry in folder.iterdir())):
        raise UserError("output", f"'{folder}' is not empty and holds no {kind}", "choose another `output`")
    return None


def is_work(entry: Path) -> bool:
    """Whether a file is more than what a run that was stopped at its very beginning leaves."""
    return entry.suffix != ".partial" and entry.name != LOCK


def check_configuration(folder: Path, marker: str, kind: str, config: Mapping[str, Any], remedy: str) -> None:
    """Refuse a folder that holds anything but work of this configuration, which its marker has as `config`.

    Raises:
        UserError: If it does.
    """
    found = read_claim(folder, marker, kind)
    if found is None:
        return
    begun = found.get("config")
    if not isinstance(begun, dict):
        raise UserError("output", f"'{folder / marker}' cannot be read", "choose another `output`")
    check_same(folder, kind, begun, config, remedy)


def check_outside(folder: Path, sources: Iterable[Path], argument: str = "output") -> None:
    """Refuse to write among the real images, where a folder would be taken for one of their classes.

    Args:
        folder: Where work is to be written.
        sources: Folders of images.
        argument: What the folder is called where it is given.

    Raises:
        UserError: If it is one of them, or lies in one.
    """
    for source in sources:
        if folder.resolve().is_relative_to(source.resolve()):
            problem = f"'{folder}' lies in '{source}', where the real images are read from"
            raise UserError(argument, problem, f"choose a folder outside of '{source}'")


def check_same(folder: Path, kind: str, found: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str) -> None:
    """Refuse a folder whose work has another configuration, showing the first place where the two differ.

    Raises:
        UserError: If they differ.
    """
    if found != wanted:
        where, old, new = first_difference(found, wanted)
        raise UserError(
            "output",
            f"'{folder}' holds a {kind} of another configuration ({where}: {old!r} there, {new!r} here)",
            remedy,
        )
