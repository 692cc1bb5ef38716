"""How does a file appear whole or not at all? A temporary name, a flush to the disk, and a rename."""

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any


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
