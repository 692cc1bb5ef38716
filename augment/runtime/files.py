"""How does a file appear whole or not at all? A temporary name, a flush to the disk, and a rename."""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from augment.errors import UserError


def partial_path(path: Path) -> Path:
    """Where a file lies until it is whole: a name that no other process of any machine uses."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.partial")


def file_sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, content: str) -> None:
    """Write a text file so that a reader sees the old file or the new one, never half of it."""
    partial = partial_path(path)
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Let a library write a folder that appears whole or not at all, and takes the place of an older one.

    Args:
        folder: Where it shall be.

    Yields:
        Where to write it.

    Raises:
        UserError: If the disk is full, or does not take it for another reason; what was there before is still there.
    """
    for stale in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(stale)
    partial = partial_path(folder)
    try:
        yield partial
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = " ".join(str(error).split())
        remedy = "finished work is kept: run the same command again once that is mended"
        raise UserError("output", f"'{folder}' could not be written ({reason})", remedy) from error
    old = partial.with_suffix(".old.partial")
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
