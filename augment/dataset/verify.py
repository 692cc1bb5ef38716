"""Is a dataset whole? Every shard's hash, sample count and images, checked against the manifest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from augment.dataset.manifest import read_finished, read_manifest
from augment.dataset.reader import find_broken, find_unlike, is_complete, shard_keys
from augment.dataset.shard_writer import Sample, committed_sha256, shard_name
from augment.errors import UserError
from augment.runtime.files import file_sha256
from augment.runtime.terminal import PlainConsole


def verify(folder: Path | str) -> int:
    """Check every shard of a dataset folder.

    Args:
        folder: Made by `augment synthesize`.

    Returns:
        The number of samples, all of them good.

    Raises:
        UserError: If the dataset is unfinished, or a shard is missing or differs; names every bad shard.

    Example:
        >>> import augment
        >>> augment.verify("datasets/mine")
        8
    """
    folder = Path(folder)
    manifest = read_finished(folder)
    classes = len(manifest["classes"])
    console = PlainConsole(stderr=True)
    shards = track(
        manifest["shards"].items(), "verify", console=console, transient=True, disable=not console.is_terminal
    )
    faults = [fault for name, facts in shards if (fault := find_fault(folder / name, facts, classes)) is not None]
    if faults:
        raise UserError(
            "dataset",
            f"'{folder}' is damaged: {'; '.join(faults)}",
            "run the same `augment synthesize` command again",
        )
    return sum(int(facts["samples"]) for facts in manifest["shards"].values())


def find_fault(path: Path, facts: dict[str, Any], classes: int) -> str | None:
    """What is wrong with one shard, in words; None if its hash and its number of samples are right, and readers can
    read all of its records and images.
    """
    if not path.is_file():
        return f"{path.name} is missing"
    try:
        count = len(shard_keys(path))
    except UserError:
        return f"{path.name} is no whole tar"
    if count != facts["samples"]:
        return f"{path.name} holds {count} samples instead of {facts['samples']}"
    altered = file_sha256(path) != facts["sha256"]
    if broken := find_broken(path, classes):
        return f"{path.name} {'was altered' if altered else 'was written'} ({broken})"
    if altered:
        return f"{path.name} was altered"
    unlike = find_unlike(path)
    return f"{path.name} was written ({unlike} is not the label of its record)" if unlike else None


def unfinished(folder: Path, shards: Sequence[Sequence[Sample]]) -> list[int]:
    """Numbers of the shards that are missing, broken, or not as they were when they were committed."""
    described = read_manifest(folder)["shards"]

    def is_finished(number: int) -> bool:
        name = shard_name(number)
        known = described.get(name, {}).get("sha256") or committed_sha256(folder / name)
        return known is not None and is_complete(folder / name, shards[number], known)

    return [number for number in range(len(shards)) if not is_finished(number)]
