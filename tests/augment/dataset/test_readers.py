"""Three readers that the project did not write load a dataset folder untouched, and agree."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset as wds
from conftest import SIDE, Job, mtimes

from augment.dataset.reader import read_shard

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


@pytest.mark.parametrize("mixup", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_timms_own_training_trains_on_a_dataset_folder(dataset: Path, workers: int, mixup: bool) -> None:
    """The loader calls of timm's train.py (not part of its wheel) with its defaults, and its loop over epochs."""
    import timm
    from timm.data import FastCollateMixup, create_dataset, create_loader
    from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
    from timm.utils import random_seed

    random_seed(42)
    stream = create_dataset("wds/synthetic", root=str(dataset), split="train", is_training=True, batch_size=4, seed=42)
    settings = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "prob": 1.0, "switch_prob": 0.5, "mode": "batch"}
    loader = create_loader(
        stream,
        input_size=(3, SIDE, SIDE),
        batch_size=4,
        is_training=True,
        scale=[0.08, 1.0],
        ratio=[3 / 4, 4 / 3],
        hflip=0.5,
        color_jitter=0.4,
        auto_augment=None,
        interpolation="random",
        num_workers=workers,
        collate_fn=FastCollateMixup(**settings, label_smoothing=0.1, num_classes=3) if mixup else None,
        device=torch.device("cpu"),
        use_prefetcher=True,
        worker_seeding="all",
    )
    network = timm.create_model("test_resnet", num_classes=3)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    criterion = SoftTargetCrossEntropy() if mixup else LabelSmoothingCrossEntropy(0.1)
    begun, labels = network.get_classifier().weight.detach().clone(), set()
    for _ in range(2):
        seen = 0
        for images, targets in loader:
            assert images.shape == (4, 3, SIDE, SIDE)
            assert targets.shape == ((4, 3) if mixup else (4,))
            loss = criterion(network(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert torch.isfinite(loss)
            labels |= set(targets.flatten().tolist())
            seen += len(images)
        assert seen == 4 * len(loader) >= 12
    assert mixup or labels == {0, 1, 2}
    assert not torch.equal(network.get_classifier().weight, begun)
