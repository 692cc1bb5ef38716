"""What decides a result, in one short hash, and where two descriptions differ first."""

import hashlib
import json
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "diffusers", "transformers", "lightning", "numpy", "pillow", "safetensors")


def library_versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that decide an image's bits."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("chm-augment", *LIBRARIES)}


def fingerprint(config: dict[str, Any]) -> str:
    """Hash of everything that decides a dataset's bytes."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def hash_files(folder: Path, files: Iterable[Path]) -> str:
    """Hash of the names below a folder, and the contents, of some of its files, in order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def first_difference(old: Any, new: Any, where: str = "") -> tuple[str, Any, Any]:
    """Path and values of the first place where two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return first_difference(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (a, b) in enumerate(zip(old, new, strict=True)):
            if a != b:
                return first_difference(a, b, f"{where}[{position}]")
    return where, old, new
