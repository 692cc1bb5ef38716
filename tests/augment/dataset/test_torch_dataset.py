"""A dataset folder as a torch dataset: the same images, labels and records by number and as a stream."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COLOURS, SIDE
from torch.utils.data import DataLoader
from torchvision.transforms.functional import pil_to_tensor

from augment.dataset.reader import read_shard
from augment.dataset.torch_dataset import open_dataset
from augment.errors import UserError


def test_every_image_has_its_number(dataset: Path) -> None:
    opened = open_dataset(dataset)
    expected = [sample for shard in sorted(dataset.glob("*.tar")) for sample in read_shard(shard)]
    assert (len(opened), opened.classes) == (12, tuple(COLOURS))
    for (image, label, record), (_, pixels, written) in zip(opened, expected, strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(pixels))
        assert (label, record) == (written["label"], written)
    with pytest.raises(IndexError):
        opened[12]


def test_a_stream_has_the_same_images(dataset: Path) -> None:
    by_number = list(open_dataset(dataset))
    streamed = list(open_dataset(dataset, streaming=True))
    assert [(label, record) for _, label, record in streamed] == [(label, record) for _, label, record in by_number]
    pairs = zip(streamed, by_number, strict=True)
    assert all(np.array_equal(np.asarray(one.image), np.asarray(other.image)) for one, other in pairs)


def test_a_transform_makes_batches(dataset: Path) -> None:
    opened = open_dataset(dataset, pil_to_tensor)
    rows = [(image, label) for image, label, _ in opened]
    images, labels = next(iter(DataLoader(rows, batch_size=12)))  # type: ignore[arg-type]
    assert (images.shape, images.dtype) == ((12, 3, SIDE, SIDE), torch.uint8)
    assert sorted(labels.tolist()) == sorted([0, 1, 2] * 4)
    assert len(list(open_dataset(dataset, pil_to_tensor, streaming=True))) == 12


def test_workers_share_the_shards(dataset: Path) -> None:
    stream = open_dataset(dataset, pil_to_tensor, streaming=True)
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    records = sorted((record["label"], record["index"]) for _, _, record in loader)
    assert records == [(label, index) for label in range(3) for index in range(4)]


def test_it_travels_to_another_process(dataset: Path) -> None:
    assert len(pickle.loads(pickle.dumps(open_dataset(dataset)))) == 12


def test_an_unfinished_folder_is_refused(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    manifest = copy / "dataset.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"shards": {', '"shards": {}, "old": {'))
    with pytest.raises(UserError, match=r"dataset: '.*' is not finished; run"):
        open_dataset(copy)
    with pytest.raises(UserError, match=r"dataset: no '.*dataset.json'"):
        open_dataset(tmp_path / "nothing")


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:700],
        lambda content: b"",
        lambda content: content.replace(b'"label": ', b'"lobel": ', 1),
        lambda content: content.replace(b"IHDR", b"IHDX", 1),
    ],
    ids=["cut", "empty", "record", "image"],
)
def test_a_broken_shard_is_one_line_in_a_stream(dataset: Path, tmp_path: Path, damage: Damage) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    shard = copy / "train-000001.tar"
    damaged = damage(shard.read_bytes())
    assert damaged != shard.read_bytes()
    shard.write_bytes(damaged)
    with pytest.raises(UserError, match=r"train-000001\.tar cannot be read \("):
        list(open_dataset(copy, streaming=True))
