"""Is a dataset whole? Every shard's hash, sample count and images, checked against the manifest."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from augment.dataset.folder import check_folder
from augment.dataset.manifest import MANIFEST, SHARD_NAME, read_finished, read_manifest
from augment.dataset.reader import find_broken, find_unlike, is_complete, shard_keys
from augment.dataset.shard_writer import Sample, committed_sha256, shard_name
from augment.errors import UserError
from augment.runtime.files import file_sha256
from augment.runtime.progress import Meter


class UnfinishedError(UserError):
    """The dataset is not finished yet."""


def verify(folder: Path | str) -> int:
    """Check every shard of a dataset folder.

    Args:
        folder: Made by `augment synthesize`.

    Returns:
        The number of samples, all of them good.

    Raises:
        UnfinishedError: If the dataset is unfinished; says how many of its shards are there and good.
        UserError: If a shard of a finished dataset is missing or differs; names every bad shard.

    Example:
        >>> import augment
        >>> augment.verify("datasets/mine")
        8
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    classes = len(manifest["classes"])
    if not manifest["shards"]:
        raise UnfinishedError(
            "dataset",
            f"'{folder}': {count_good(folder, manifest)}; the dataset is not finished",
            "run `augment synthesize` on it again",
        )
    faults = []
    with Meter("verify", len(manifest["shards"]), "shards", ending=False) as meter:
        for name, facts in manifest["shards"].items():
            if (fault := find_fault(folder / name, facts, classes)) is not None:
                faults.append(fault)
            meter.advance()
    if faults:
        raise UserError(
            "dataset",
            f"'{folder}' is damaged: {'; '.join(faults)}",
            "run the same `augment synthesize` command again",
        )
    return sum(int(facts["samples"]) for facts in manifest["shards"].values())


def count_good(folder: Path, manifest: dict[str, Any]) -> str:
    """How many of the shards that an unfinished dataset will have are there as they were committed, in words.

    Raises:
        UserError: If the dataset does not say how many it will have.
    """
    plan, classes = manifest["config"].get("plan"), len(manifest["classes"])
    sizes: list[Any] = [plan.get(name) for name in ("per_class", "shard_size")] if isinstance(plan, dict) else []
    if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        problem = f"'{folder / MANIFEST}' does not say how many images and shards the dataset will have"
        raise UserError("dataset", problem, "restore it or start in a new folder")
    images, size = sizes[0] * len({shot["label"] for shot in manifest["few_shot"]}), sizes[1]
    good: list[int] = []
    for path in sorted(path for path in folder.iterdir() if SHARD_NAME.fullmatch(path.name)):
        samples = min(size, images - int(path.stem.removeprefix("train-")) * size)
        facts = {"samples": samples, "sha256": committed_sha256(path)}
        if samples > 0 and find_fault(path, facts, classes) is None:
            good.append(samples)
    return f"{len(good)} of {-(-images // size)} shards are good, {sum(good)} of {images} images"


def check_unaltered(folder: Path, argument: str = "dataset") -> None:
    """Refuse a finished dataset with a shard that is missing, or is not the one that was made.

    Quick enough for every run that reads the set: a shard is hashed once in a process, as long as it is not touched.

    Args:
        folder: Made by `augment synthesize`.
        argument: What the folder is called where it is given.

    Raises:
        UserError: Naming the first such shard.
    """
    for name, facts in read_finished(folder, argument)["shards"].items():
        path = folder / name
        if not path.is_file():
            fault = "is missing"
        elif untouched_sha256(path, path.stat().st_size, path.stat().st_mtime_ns) != facts["sha256"]:
            fault = "is not the shard that was made"
        else:
            continue
        remedy = "run the same `augment synthesize` command again; `augment verify` names all that is wrong"
        raise UserError(argument, f"{name} of '{folder}' {fault}", remedy)


def is_whole(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a folder holds the dataset that the manifest describes, finished, with its shards as they were made.

    Raises:
        UserError: If it holds another dataset, or something else.
    """
    if not check_folder(folder, manifest, overwrite=False):
        return False
    if read_manifest(folder)["fingerprint"] != manifest["fingerprint"]:  # a smaller one, which has yet to grow
        return False
    try:
        check_unaltered(folder)
    except UserError:
        return False
    return True


@cache
def untouched_sha256(path: Path, size: int, modified: int) -> str:
    """Hash of a file that has this size and time stamp."""
    return file_sha256(path)


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
