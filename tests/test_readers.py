"""Three readers that the project did not write load a dataset folder untouched, and agree."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from conftest import Job, mtimes

from augment.shards import read_shard

Samples = Counter[tuple[int, bytes]]


def with_our_own(folder: Path) -> Samples:
    return Counter(
        (record["label"], np.asarray(image).tobytes())
        for shard in sorted(folder.glob("*.tar"))
        for _, image, record in read_shard(shard)
    )


def with_webdataset(folder: Path) -> Samples:
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    stream = wds.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png;jpg;webp", "cls", "json")
    samples = list(stream)
    assert all(record["label"] == label for _, label, record in samples)
    return Counter((int(label), np.asarray(image).tobytes()) for image, label, _ in samples)


def with_timm(folder: Path) -> Samples:
    from timm.data import create_dataset

    dataset = create_dataset("wds/synthetic", root=str(folder), split="train", is_training=False)
    samples = list(dataset)
    assert len(dataset) == len(samples)
    return Counter((label, np.asarray(image).tobytes()) for image, label in samples)


def with_hugging_face(folder: Path, cache: Path) -> Samples:
    from datasets import load_dataset

    files = {"train": [str(path) for path in sorted(folder.glob("*.tar"))]}
    dataset = load_dataset("webdataset", data_files=files, cache_dir=str(cache), split="train")
    (column,) = {"png", "jpg", "webp"} & set(dataset.column_names)
    assert all(row["json"]["label"] == int(row["cls"]) for row in dataset)
    assert all("." not in row["__key__"] for row in dataset)
    return Counter((int(row["cls"]), np.asarray(row[column]).tobytes()) for row in dataset)


def test_the_readers_agree_on_labels_and_pixels(dataset: Path, tmp_path: Path) -> None:
    before = mtimes(dataset)
    ours = with_our_own(dataset)
    assert sum(ours.values()) == len(ours) == 12
    assert with_webdataset(dataset) == ours
    assert with_timm(dataset) == ours
    assert with_hugging_face(dataset, tmp_path / "cache") == ours
    assert mtimes(dataset) == before


@pytest.mark.parametrize("image_format", ["jpg", "webp"])
def test_lossy_formats_are_read_too(job: Job, tmp_path: Path, image_format: str) -> None:
    folder = job.synthesize(tmp_path / "set", "--data.plan.image_format", image_format, per_class=2)
    ours = with_our_own(folder)
    assert sum(ours.values()) == 6
    assert with_webdataset(folder) == ours
    assert with_timm(folder) == ours
    assert with_hugging_face(folder, tmp_path / "cache") == ours


def test_timms_training_reader_sees_every_class(dataset: Path) -> None:
    from timm.data import create_dataset

    stream = create_dataset("wds/synthetic", root=str(dataset), split="train", is_training=True, batch_size=4)
    assert Counter(label for _, label in stream) == {0: 4, 1: 4, 2: 4}


def test_timms_info_names_what_is_there(dataset: Path) -> None:
    info = json.loads((dataset / "_info.json").read_text())["splits"]["train"]
    assert info["filenames"] == sorted(path.name for path in dataset.glob("*.tar"))
