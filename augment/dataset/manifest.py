"""How does a dataset folder describe itself? Its manifest, read and written; names in it are of its own folder."""

import json
import os
import platform
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from augment.dataset.shard_writer import Sample, committed_sha256, note_path, shard_name
from augment.errors import UserError
from augment.runtime.files import write_json
from augment.runtime.fingerprint import fingerprint, library_versions
from augment.runtime.json_files import read_object

MANIFEST = "dataset.json"
RUN = "run.json"
SHARD_NAME = re.compile(r"train-\d{6}\.tar")


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
        UserError: If there is none, or it describes no dataset.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError("dataset", f"no '{path}'", f"'{folder}' is not a dataset folder made by `augment synthesize`")
    manifest = read_object(path, "dataset", "restore it or start in a new folder")
    check_manifest(path, manifest)
    return manifest


def read_finished(folder: Path, argument: str = "dataset") -> dict[str, Any]:
    """The `dataset.json` of a dataset folder that is whole.

    Args:
        folder: Made by `augment synthesize`.
        argument: What the folder is called where it is given.

    Raises:
        UserError: If there is none, it describes no dataset, or the dataset is not finished.
    """
    manifest = read_manifest(folder)
    if not manifest["shards"]:
        raise UserError(argument, f"'{folder}' is not finished", "run `augment synthesize` on it again")
    return manifest


def check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Refuse a description that no dataset has, or that names files outside of its folder.

    Raises:
        UserError: If it is one.
    """
    remedy = "choose another folder"
    kinds = {"fingerprint": str, "config": dict, "classes": list, "few_shot": list, "versions": dict, "shards": dict}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise UserError("dataset", f"'{path}' was not written by `augment synthesize` ({key} is missing)", remedy)
    if not all(isinstance(name, str) for name in manifest["classes"]):
        raise UserError("dataset", f"'{path}' has a class whose name is no text", remedy)
    count = len(manifest["classes"])
    for shot in manifest["few_shot"]:
        texts = isinstance(shot, dict) and all(isinstance(shot.get(key), str) for key in ("name", "sha256"))
        if not texts or not isinstance(shot.get("label"), int) or not 0 <= shot["label"] < count:
            raise UserError("dataset", f"'{path}' has a few-shot image without name, hash or label", remedy)
    for name, facts in manifest["shards"].items():
        if not SHARD_NAME.fullmatch(name):
            raise UserError(
                "dataset", f"'{path}' names a shard {name!r}; shards are train-000000.tar and so on", remedy
            )
        whole = isinstance(facts, dict) and isinstance(facts.get("samples"), int)
        if not whole or not isinstance(facts.get("sha256"), str):
            raise UserError("dataset", f"'{path}' says neither hash nor size of {name}", remedy)


def close_folder(folder: Path, shards: Sequence[Sequence[Sample]]) -> None:
    """Describe the finished shards by the hashes noted when they were committed: `_info.json`, `dataset.json`."""
    names = [shard_name(number) for number in range(len(shards))]
    lengths = [len(samples) for samples in shards]
    train = {"name": "train", "num_samples": sum(lengths), "filenames": names, "shard_lengths": lengths}
    write_json(folder / "_info.json", {"splits": {"train": train}})
    manifest = read_manifest(folder)
    described = {name: facts["sha256"] for name, facts in manifest["shards"].items()}
    noted = {name: committed_sha256(folder / name) or described.get(name) for name in names}
    hashes = {name: {"sha256": noted[name], "samples": n} for name, n in zip(names, lengths, strict=True)}
    write_json(folder / MANIFEST, manifest | {"shards": hashes})
    for name in names:
        note_path(folder / name).unlink(missing_ok=True)


def write_run(
    folder: Path,
    devices: str,
    processes: int,
    images: int,
    seconds: dict[str, float],
    fitted: dict[str, int],
    profile: dict[str, float] | None,
    source: dict[str, Any] | None,
) -> None:
    """Record what differs between runs, for whoever asks how fast it was or why two runs differ in the last bit.

    Images and seconds add up over the runs that made the dataset; the rest is of the last one.

    Args:
        folder: Of the dataset.
        devices: Their kind.
        processes: How many shared the work.
        images: Made by this run.
        seconds: Of the whole stages.
        fitted: Images at a time that memory allowed, in stages where it did not allow the batch size.
        profile: Seconds of the first process, in detail.
        source: Where the real images are, as `describe_source` says it.
    """
    import torch

    before = read_run(folder)
    images += before.get("images", 0)
    spent = before.get("seconds", {})
    seconds = {stage: spent.get(stage, 0.0) + value for stage, value in seconds.items()}
    run = {
        "runs": before.get("runs", 0) + 1,
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
        "images_per_second": round(images / seconds["synthesize"], 3) if images else None,
        "batch_size_that_fitted": (before.get("batch_size_that_fitted") or {}) | fitted or None,
        "source": source,
    }
    write_json(folder / RUN, run)


def read_run(folder: Path) -> dict[str, Any]:
    """The `run.json` of a dataset folder; empty where no run has ended yet."""
    path = folder / RUN
    return read_object(path, "dataset", "delete it") if path.is_file() else {}
