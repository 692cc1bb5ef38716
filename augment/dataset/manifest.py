"""How does a dataset folder describe itself? Its fingerprint, its manifest, and the refusal to mix two datasets."""

import json
import os
import platform
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from augment.dataset.shards import Sample, shard_name
from augment.errors import UserError
from augment.runtime.files import file_sha256, partial_path, write_json
from augment.runtime.fingerprint import fingerprint, first_difference, library_versions


def describe_dataset(config: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a dataset that is about to be made: everything but the shards' hashes."""
    config = json.loads(json.dumps(config))  # as it will be read back: a tuple is a list there
    classes, few_shot = config["classes"], config["few_shot"]
    return {
        "format": 1,
        "fingerprint": fingerprint(config),
        "config": config,
        "classes": classes,
        "few_shot": few_shot,
        "versions": library_versions(),
        "shards": {},
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """The `dataset.json` of a dataset folder.

    Raises:
        UserError: If there is none.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        raise UserError(
            "dataset", f"no '{path}'", f"'{folder}' is no dataset folder: give one that `augment synthesize` made"
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError("dataset", f"'{path}' is not JSON ({error})", "restore it or start in a new folder") from error
    if not isinstance(manifest, dict) or not manifest.keys() >= {"fingerprint", "config", "shards"}:
        raise UserError("dataset", f"'{path}' was not written by `augment synthesize`", "choose another folder")
    return manifest


def check_folder(folder: Path, manifest: dict[str, Any], overwrite: bool) -> None:
    """Refuse a folder that holds anything but a dataset of this configuration.

    Raises:
        UserError: If it does.
    """
    if (folder / "dataset.json").is_file():
        found = read_manifest(folder)
        if found["fingerprint"] != manifest["fingerprint"] and not overwrite:
            where, old, new = first_difference(found["config"], manifest["config"])
            raise UserError(
                "output",
                f"'{folder}' holds a dataset of another configuration ({where}: {old!r} there, {new!r} here)",
                "choose another `output`, or pass `overwrite` to delete it",
            )
    elif folder.exists() and (not folder.is_dir() or any(p.suffix != ".partial" for p in folder.iterdir())):
        raise UserError("output", f"'{folder}' is not empty and holds no dataset", "choose another `output`")


def open_folder(folder: Path, manifest: dict[str, Any], overwrite: bool) -> None:
    """Make `folder` ready for the dataset that `manifest` describes; one of the same configuration is resumed.

    Raises:
        UserError: If the folder holds something else, or cannot be written.
    """
    check_folder(folder, manifest, overwrite)
    try:
        if (folder / "dataset.json").is_file():
            if read_manifest(folder)["fingerprint"] == manifest["fingerprint"]:
                sweep(folder)
                return
            doomed = partial_path(folder)
            folder.rename(doomed)  # at once, so that a kill during the deletion leaves no half dataset here
            shutil.rmtree(doomed)
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        write_json(folder / "dataset.json", manifest)
    except OSError as error:
        raise UserError(
            "output", f"'{folder}' cannot be written ({error.strerror})", "choose another `output`"
        ) from error


def sweep(folder: Path) -> None:
    """Remove what a killed run had begun to write."""
    for partial in folder.glob(".*.partial"):
        partial.unlink()


def close_folder(folder: Path, shards: Sequence[Sequence[Sample]]) -> None:
    """Describe the finished shards, from what is on disk: `_info.json` for timm, hashes in `dataset.json`."""
    names = [shard_name(number) for number in range(len(shards))]
    lengths = [len(samples) for samples in shards]
    train = {"name": "train", "num_samples": sum(lengths), "filenames": names, "shard_lengths": lengths}
    write_json(folder / "_info.json", {"splits": {"train": train}})
    hashes = {
        name: {"sha256": file_sha256(folder / name), "samples": n} for name, n in zip(names, lengths, strict=True)
    }
    write_json(folder / "dataset.json", read_manifest(folder) | {"shards": hashes})


def write_run(
    folder: Path,
    devices: str,
    processes: int,
    images: int,
    seconds: dict[str, float],
    fitted: dict[str, int],
    profile: dict[str, float] | None,
) -> None:
    """Record what differs between runs, for whoever asks how fast it was or why two runs differ in the last bit.

    Args:
        folder: Of the dataset.
        devices: Their kind.
        processes: How many shared the work.
        images: Made by this run.
        seconds: Of the whole stages.
        fitted: Images at a time that memory allowed, in stages where it did not allow the batch size.
        profile: Seconds of the first process, in detail.
    """
    synthesis = seconds["synthesize"]
    run = {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "devices": devices,
        "processes": processes,
        "threads_per_process": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": library_versions(),
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "profile": profile and {stage: round(value, 3) for stage, value in profile.items()},
        "images": images,
        "images_per_second": round(images / synthesis, 3) if images else None,
        "batch_size_that_fitted": fitted or None,
    }
    write_json(folder / "run.json", run)
