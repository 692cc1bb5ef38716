"""Is a dataset whole? Every shard's hash, sample count and images, checked against the manifest."""

import io
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import track

from augment.errors import UserError
from augment.manifest import read_manifest
from augment.shards import file_sha256, shard_keys


def verify(folder: Path) -> int:
    """Check every shard of a dataset folder.

    Args:
        folder: Made by `augment synthesize`.

    Returns:
        The number of samples, all of them good.

    Raises:
        UserError: If the dataset is unfinished, or a shard is missing or differs; names every bad shard.
    """
    manifest = read_manifest(folder)
    if not manifest["shards"]:
        raise UserError(f"dataset: '{folder}' is not finished; run `augment synthesize` on it again")
    console = Console(stderr=True)
    shards = track(
        manifest["shards"].items(), "verify", console=console, transient=True, disable=not console.is_terminal
    )
    faults = [fault for name, facts in shards if (fault := find_fault(folder / name, facts)) is not None]
    if faults:
        raise UserError(
            f"dataset: '{folder}' is damaged: {'; '.join(faults)}; run the same `augment synthesize` command again"
        )
    return sum(int(facts["samples"]) for facts in manifest["shards"].values())


def find_fault(path: Path, facts: dict[str, Any]) -> str | None:
    """What is wrong with one shard, in words; None if its hash, its number of samples and all its images are right."""
    if not path.is_file():
        return f"{path.name} is missing"
    try:
        count = len(shard_keys(path))
    except UserError:
        return f"{path.name} is no whole tar"
    if count != facts["samples"]:
        return f"{path.name} holds {count} samples instead of {facts['samples']}"
    altered = file_sha256(path) != facts["sha256"]
    if broken := broken_images(path):
        return f"{path.name} {'was altered' if altered else 'was written'} (broken image {broken[0]})"
    return f"{path.name} was altered" if altered else None


def broken_images(path: Path) -> list[str]:
    """Names of the images of a shard that cannot be decoded."""
    broken = []
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is None or member.name.endswith((".cls", ".json")):
                continue
            try:
                Image.open(io.BytesIO(content.read())).load()
            except (OSError, ValueError, SyntaxError):  # what Pillow says of broken files depends on their format
                broken.append(member.name)
    return broken
