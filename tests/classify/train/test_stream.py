"""The stream of training batches: which images it draws, how often, and with which labels."""

import shutil
from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIDE, sha256s
from fitting import pixels
from PIL import Image
from torch.utils.data import DataLoader

from augment.dataset.reader import read_images, read_shard
from augment.errors import UserError
from classify.train.batches import Batches
from classify.train.data import MixedBatches
from classify.train.order import Example
from classify.train.synthetic import read_index

REAL = 100
"""Real images are labelled from here on, so that labels tell them from synthetic ones."""


def real_images(count: int = 7) -> list[Example]:
    return [Example(f"{n}", REAL + n, partial(Image.new, "RGB", (SIDE, SIDE), (n, n, n))) for n in range(count)]


def mixed(folder: Path | None, fraction: float, rank: int = 0, world: int = 1, **settings: Any) -> MixedBatches:
    batches = Batches(batch_size=8, synthetic_fraction=fraction, image_size=SIDE, **settings)
    synthetic = None if folder is None else read_index(folder).cached(batches.cache_gib * 2**30, stream_others=True)
    return MixedBatches(real_images(), synthetic, batches, pixels, REAL + 7, seed=3, rank=rank, world=world)


def labels_of(stream: MixedBatches, count: int) -> list[list[int]]:
    return [labels.tolist() for _, labels in islice(stream, count)]


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
@pytest.mark.parametrize("cache_gib", [2.0, 1e-9], ids=["in memory", "streamed"])
def test_every_batch_has_the_same_number_of_synthetic_images(
    dataset: Path, fraction: float, expected: int, cache_gib: float
) -> None:
    for labels in labels_of(mixed(dataset, fraction, cache_gib=cache_gib), 20):
        assert len(labels) == 8
        assert sum(label < REAL for label in labels) == expected


def test_without_a_dataset_all_images_are_real() -> None:
    for labels in labels_of(mixed(None, 0.5), 5):
        assert len(labels) == 8
        assert min(labels) >= REAL


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_image_is_used_equally_often_by_all_processes_together(dataset: Path, world: int) -> None:
    counts: Counter[int] = Counter()
    synthetic: Counter[bytes] = Counter()
    for rank in range(world):
        for images, labels in islice(mixed(dataset, 0.5, rank, world), 10):
            counts.update(label for label in labels.tolist() if label >= REAL)
            synthetic.update(
                image.numpy().tobytes() for image, n in zip(images, labels.tolist(), strict=True) if n < REAL
            )
    assert set(counts) == {REAL + n for n in range(7)}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(synthetic) == 12
    assert max(synthetic.values()) - min(synthetic.values()) <= 1


def test_loader_workers_share_the_stream_too(dataset: Path) -> None:
    loader = DataLoader(mixed(dataset, 0.5), batch_size=None, num_workers=2)
    stream = iter(loader)
    counts = Counter(label for _ in range(14) for label in next(stream)[1].tolist() if label >= REAL)
    del stream
    assert max(counts.values()) - min(counts.values()) <= 1
    assert sum(counts.values()) == 56


@pytest.mark.parametrize("cache_gib", [2.0, 1e-9], ids=["in memory", "streamed"])
def test_synthetic_images_come_with_their_own_labels(dataset: Path, cache_gib: float) -> None:
    truth = {
        pixels(image).numpy().tobytes(): record["label"]
        for shard in sorted(dataset.glob("*.tar"))
        for _, image, record in read_shard(shard)
    }
    seen = set()
    for images, labels in islice(mixed(dataset, 1.0, cache_gib=cache_gib), 40):
        for image, label in zip(images, labels.tolist(), strict=True):
            assert truth[image.numpy().tobytes()] == label
            seen.add(image.numpy().tobytes())
    assert seen == set(truth)


@pytest.mark.parametrize("cache_gib", [2.0, 1e-9], ids=["in memory", "streamed"])
def test_the_stream_is_the_seeds_and_the_ranks(dataset: Path, cache_gib: float) -> None:
    first, again, other = (labels_of(mixed(dataset, 0.5, rank, 2, cache_gib=cache_gib), 10) for rank in (0, 0, 1))
    assert first == again
    assert first != other


def test_read_images_reads_all_in_order(dataset: Path) -> None:
    expected = [record["label"] for s in sorted(dataset.glob("*.tar")) for _, _, record in read_shard(s)]
    assert [label for _, label in read_images(dataset)] == expected


def test_a_broken_image_is_an_error_and_no_smaller_dataset(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    path = copy / "train-000001.tar"
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"\x00PNG", 1))
    with pytest.raises(UserError, match=r"train-000001\.tar|augment verify"):
        list(read_images(copy))


def test_a_missing_shard_is_an_error_and_no_smaller_dataset(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    (copy / "train-000001.tar").unlink()
    with pytest.raises(UserError, match=r"train-000001\.tar|augment verify"):
        list(read_images(copy))


def test_streams_use_every_image_equally_often(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are dealt to two lanes pass by pass; only what lies in the two buffers is behind."""
    monkeypatch.setattr("classify.train.synthetic.SHUFFLE_BUFFER", 2)
    streamed = read_index(dataset).cached(0, stream_others=True)
    assert streamed.streamed
    counts: Counter[str] = Counter()
    for lane in range(2):
        counts.update(example.name for example in islice(streamed.stream(5, lane, 2), 60))
    assert len(counts) == 12 and sum(counts.values()) == 120
    assert max(counts.values()) - min(counts.values()) <= 2


def test_a_broken_image_stops_a_stream_too(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    path = copy / "train-000001.tar"
    path.write_bytes(path.read_bytes().replace(b"\x89PNG", b"\x00PNG", 1))
    streamed = read_index(copy).cached(0, stream_others=True)
    with pytest.raises(UserError, match=r"synthetic: train-000001\.tar cannot be read .*; `augment verify` names what"):
        for example in islice(streamed.stream(0, 0, 1), 50):
            example.image()


def test_smoothing_of_synthetic_images_alone(dataset: Path) -> None:
    _, targets = next(iter(mixed(dataset, 0.5, synthetic_smoothing=0.5)))
    real, made = targets[:4], targets[4:]
    assert torch.equal(real.sort(1).values[:, -1], torch.ones(4))
    count = REAL + 7
    torch.testing.assert_close(made.max(1).values, torch.full((4,), 0.5 + 0.5 / count))
    torch.testing.assert_close(made.min(1).values, torch.full((4,), 0.5 / count))


def test_reading_changes_nothing(dataset: Path) -> None:
    before = sha256s(dataset)
    list(read_images(dataset))
    assert sha256s(dataset) == before
