"""The data module: which sets it refuses, what its loaders give, soft labels, and what is held in memory."""

import json
import random
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import SIDE, make_images, paint
from fitting import STILL, pixels
from PIL import Image

from augment.dataset.reader import read_shard, shard_keys
from augment.dataset.shard_writer import ShardFile, committed_sha256, encode_image
from augment.errors import UserError
from augment.images.sources import ImageFolder
from augment.runtime.files import file_sha256
from classify.train.batches import Batches
from classify.train.data import ClassificationData
from classify.train.order import shuffled
from classify.train.synthetic import read_index


def data(
    train: Path, test: Path | None = None, synthetic: Path | None = None, **settings: object
) -> ClassificationData:
    batches = Batches(batch_size=4, image_size=SIDE)
    path = None if synthetic is None else str(synthetic)
    return ClassificationData(ImageFolder(train, test), synthetic=path, batches=batches, **{"shots": 3} | settings)


def test_the_classifier_trains_on_the_very_images_that_were_mixed(dataset: Path, train_folder: Path) -> None:
    manifest = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    few_shot = data(train_folder, synthetic=dataset).few_shot.all
    assert [(s.name, s.sha256) for s in few_shot] == [(s["name"], s["sha256"]) for s in manifest["few_shot"]]


@pytest.mark.parametrize("settings", [{"seed": 1}, {"shots": 1}])
def test_another_few_shot_set_is_refused(dataset: Path, train_folder: Path, settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"was made from another few-shot set \('blue sky/.*'.*\); use the same"):
        data(train_folder, synthetic=dataset, **settings)


def test_a_larger_few_shot_set_is_refused(dataset: Path, train_folder: Path) -> None:
    """Five real images against three that were mixed is another comparison than the one asked for."""
    with pytest.raises(UserError, match=r"another few-shot set.*(`shots`|--data\.shots)"):
        data(train_folder, synthetic=dataset, shots=5)


def test_a_dataset_of_some_classes_is_welcome(job: object, train_folder: Path, tmp_path: Path) -> None:
    folder = job.synthesize(tmp_path / "one", "--classes", '["green.leaf"]')
    assert data(train_folder, synthetic=folder).num_classes == 3


def test_changed_content_under_the_same_names_is_refused(dataset: Path, train_folder: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(train_folder, tmp_path / "images")
    make_images(changed, 5, 7777)
    with pytest.raises(UserError, match="another few-shot set"):
        data(changed, synthetic=dataset)


def test_other_classes_are_refused(dataset: Path, train_folder: Path, tmp_path: Path) -> None:
    more = shutil.copytree(train_folder, tmp_path / "images")
    make_images(more, 3, 1, {"zebra": (9, 9, 9)})
    with pytest.raises(UserError, match=r"has classes \['blue sky', .*\], the source has \['blue sky', .*'zebra'\]"):
        data(more, synthetic=dataset)


def test_an_unfinished_dataset_is_refused(dataset: Path, train_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    manifest = json.loads((copy / "dataset.json").read_text(encoding="utf-8"))
    (copy / "dataset.json").write_text(json.dumps(manifest | {"shards": {}}))
    with pytest.raises(UserError, match="is not finished; run `augment synthesize` on it again"):
        data(train_folder, synthetic=copy)


def test_an_altered_shard_is_refused(dataset: Path, train_folder: Path, tmp_path: Path) -> None:
    """One that can be read all the same: the record of its first sample names another class."""
    copy = shutil.copytree(dataset, tmp_path / "copy")
    shard = copy / "train-000001.tar"
    shard.write_bytes(shard.read_bytes().replace(b'"label": 1', b'"label": 2', 1))
    assert shard_keys(shard) == shard_keys(dataset / "train-000001.tar")
    match = (
        r"^synthetic: train-000001\.tar of '.*copy' is not the shard that was made; "
        r"run the same `augment synthesize` command again; `augment verify` names all that is wrong$"
    )
    with pytest.raises(UserError, match=match):
        data(train_folder, synthetic=copy)


def test_swapped_and_missing_shards_are_refused(dataset: Path, train_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    shutil.copy(copy / "train-000000.tar", copy / "train-000002.tar")
    with pytest.raises(UserError, match=r"train-000002\.tar of '.*copy' is not the shard that was made"):
        data(train_folder, synthetic=copy)
    shutil.copy(dataset / "train-000002.tar", copy / "train-000002.tar")
    data(train_folder, synthetic=copy)
    (copy / "train-000000.tar").unlink()
    with pytest.raises(UserError, match=r"train-000000\.tar of '.*copy' is missing; run the same"):
        data(train_folder, synthetic=copy)


def test_a_set_is_hashed_once_in_a_process(
    dataset: Path, train_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def noted(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr("augment.dataset.verify.file_sha256", noted)
    copy = shutil.copytree(dataset, tmp_path / "copy")
    for _ in range(2):
        data(train_folder, synthetic=copy)
    assert hashed == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]


def test_no_dataset_is_refused(train_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a dataset folder"):
        data(train_folder, synthetic=tmp_path)


def test_training_batches_are_pixels_and_classes(dataset: Path, train_folder: Path) -> None:
    images, labels = next(iter(data(train_folder, synthetic=dataset).train_dataloader()))
    assert (images.shape, images.dtype) == ((4, 3, SIDE, SIDE), torch.uint8)
    assert (labels.shape, labels.dtype) == ((4,), torch.int64)


def test_test_images_are_all_there_once_in_order(train_folder: Path, test_folder: Path) -> None:
    module = data(train_folder, test_folder)
    batches = list(module.test_dataloader())
    assert torch.cat([labels for _, labels in batches]).tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert torch.cat([images for images, _ in batches]).shape == (9, 3, SIDE, SIDE)


def test_processes_share_the_test_images_without_a_repeat(train_folder: Path, test_folder: Path) -> None:
    seen: list[bytes] = []
    for rank in range(2):
        module = data(train_folder, test_folder)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        seen += [image.numpy().tobytes() for images, _ in module.test_dataloader() for image in images]
    assert len(seen) == len(set(seen)) == 9


def test_processes_and_workers_share_the_real_images_equally(train_folder: Path, dataset: Path) -> None:
    """Two processes of two workers: as many batches each as they ask for, and each real image equally often."""
    counts: Counter[bytes] = Counter()
    for rank in range(2):
        batches = Batches(batch_size=8, image_size=SIDE, workers=2, **STILL)
        module = ClassificationData(ImageFolder(train_folder), 3, synthetic=str(dataset), batches=batches)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        for images, _ in islice(module.train_dataloader(), 12):
            assert len(images) == 4
            counts.update(image.numpy().tobytes() for image in images[:2])  # the others are synthetic
    assert len(counts) == 9
    assert max(counts.values()) - min(counts.values()) <= 1


def soft_dataset(dataset: Path, folder: Path, labels: object = (0, 2), weights: object = (0.25, 0.75)) -> Path:
    """A copy whose samples of class 0 carry a soft label, as Diff-Mix's do."""
    shutil.copytree(dataset, folder)
    manifest = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    for number, name in enumerate(manifest["shards"]):
        samples = list(read_shard(folder / name))
        shard = ShardFile(folder, number)
        for key, image, record in samples:
            if record["label"] == 0:
                record |= {"soft_labels": list(labels), "soft_weights": list(weights)}
            shard.add(key, encode_image(image, "png"), "png", record)
        shard.commit()
        manifest["shards"][name]["sha256"] = committed_sha256(folder / name)
    (folder / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.mark.parametrize("cache_gib", [2.0, 1e-9], ids=["in memory", "streamed"])
@pytest.mark.parametrize("use", ["batch", "replace", "pool"])
def test_soft_labels_of_the_json_reach_the_batch(
    dataset: Path, train_folder: Path, tmp_path: Path, use: Any, cache_gib: float
) -> None:
    folder = soft_dataset(dataset, tmp_path / "soft")
    expected = {
        pixels(image).numpy().tobytes(): [0.25, 0, 0.75]
        if record["label"] == 0
        else torch.eye(3)[record["label"]].tolist()
        for shard in sorted(folder.glob("*.tar"))
        for _, image, record in read_shard(shard)
    }
    batches = Batches(batch_size=8, synthetic_use=use, image_size=SIDE, cache_gib=cache_gib, **STILL)
    module = ClassificationData(ImageFolder(train_folder), 3, synthetic=str(folder), batches=batches)
    seen: Counter[tuple[float, ...]] = Counter()
    for images, targets in islice(module.train_dataloader(), 12):
        assert (targets.shape, targets.dtype) == ((8, 3), torch.float32)
        for image, target in zip(images, targets.tolist(), strict=True):
            known = expected.get(image.numpy().tobytes())
            assert target == known if known else target in torch.eye(3).tolist()
            seen[tuple(target)] += known is not None
    assert set(seen) == {(0.25, 0, 0.75), (1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert abs(sum(seen.values()) - 48) < 4 * 24**0.5


def test_one_certain_soft_label_is_a_hard_one(dataset: Path, tmp_path: Path) -> None:
    folder = soft_dataset(dataset, tmp_path / "soft", [0], [1.0])
    assert not any(example.soft for example in read_index(folder).examples)


@pytest.mark.parametrize(
    ("labels", "weights"), [([0, 3], [0.5, 0.5]), ([0, 1], [0.5, 0.4]), ([0, 1], [1.0]), ([0, 1], [1.5, -0.5])]
)
def test_a_soft_label_that_is_none_is_refused(
    dataset: Path, tmp_path: Path, labels: list[int], weights: list[float]
) -> None:
    folder = soft_dataset(dataset, tmp_path / "soft", labels, weights)
    with pytest.raises(
        UserError, match=r"synthetic: train-000000\.tar, 0000_\d+ has soft_labels .*expected classes below 3"
    ):
        read_index(folder)


@pytest.mark.parametrize("cache_gib", [2.0, 1e-9], ids=["in memory", "read when drawn"])
def test_replacement_keeps_the_class_and_takes_the_images_made_from_the_real_one(
    dataset: Path, train_folder: Path, cache_gib: float
) -> None:
    """The data module end to end: the same labels as without replacement, and images that name the real one."""
    batches = Batches(batch_size=9, synthetic_use="replace", synthetic_fraction=1.0, image_size=SIDE, **STILL)
    batches = replace(batches, cache_gib=cache_gib)
    module = ClassificationData(ImageFolder(train_folder), 3, synthetic=str(dataset), batches=batches)
    plain = ClassificationData(ImageFolder(train_folder), 3, batches=batches)
    made = {
        pixels(image).numpy().tobytes(): record
        for shard in sorted(dataset.glob("*.tar"))
        for _, image, record in read_shard(shard)
    }
    order = iter(shuffled(module.few_shot.all, 0, 0, 1))
    streams = (islice(iter(m.train_dataloader()), 6) for m in (module, plain))
    for (images, labels), (_, originals) in zip(*streams, strict=True):
        assert labels.tolist() == originals.tolist()
        for image, label in zip(images, labels.tolist(), strict=True):
            record = made[image.numpy().tobytes()]
            assert record["label"] == label
            assert next(order).name in record["sources"]


def test_large_photographs_are_reduced_to_what_a_crop_can_use(tmp_path: Path) -> None:
    """Reduced by a whole factor, never below the side whose smallest crop has the network's size."""
    paint(tmp_path / "a" / "0.png", (90, 90, 90), 0, size=(300, 200))
    batches = Batches(batch_size=2, image_size=16, crop_scale=(0.25, 1.0), crop_ratio=(1.0, 1.0))
    assert batches.useful_side == 32
    module = ClassificationData(ImageFolder(tmp_path), 1, batches=batches)
    (example,) = module.train_dataloader().dataset.batches.real
    assert example.image().size == (50, 34)  # 200 // 32 = 6
    whole = Image.open(tmp_path / "a" / "0.png").reduce(6)
    assert example.image().tobytes() == whole.tobytes()


def test_above_the_budget_real_images_are_decoded_when_drawn(train_folder: Path) -> None:
    small, large = (
        ClassificationData(ImageFolder(train_folder), 3, batches=Batches(batch_size=4, image_size=SIDE, cache_gib=gib))
        for gib in (1e-9, 1.0)
    )
    batches = []
    for module, held in ((small, False), (large, True)):
        loader = module.train_dataloader()
        assert {example.held is not None for example in loader.dataset.batches.real} == {held}
        random.seed(0), torch.manual_seed(0)
        batches.append(next(iter(loader)))
    assert torch.equal(batches[0][0], batches[1][0])
    assert torch.equal(batches[0][1], batches[1][1])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"synthetic_fraction": 0.05},
            r"synthetic_fraction: 0\.05 of 4 images is 0; raise `batches.batch_size` or choose",
        ),
        (
            {"synthetic_fraction": 0.95},
            r"synthetic_fraction: 0\.95 of 4 images is 4; raise `batches.batch_size` or choose",
        ),
        (
            {"synthetic_use": "pool", "synthetic_fraction": 1.0},
            r"1 leaves no real image in the pool; set `batches.synthetic_use`",
        ),
        ({"batch_size": 5, "mixup": 0.8}, r"batch_size: Mixup and CutMix need an even number per process, not 5"),
    ],
)
def test_settings_that_would_quietly_do_nothing(
    dataset: Path, train_folder: Path, settings: dict[str, Any], text: str
) -> None:
    batches = Batches(**{"batch_size": 4, "image_size": SIDE} | settings)
    with pytest.raises(UserError, match=text):
        ClassificationData(ImageFolder(train_folder), 3, synthetic=str(dataset), batches=batches)


def test_a_pool_without_a_synthetic_image_is_refused(dataset: Path, train_folder: Path) -> None:
    batches = Batches(batch_size=4, image_size=SIDE, synthetic_use="pool", synthetic_fraction=0.01)
    module = ClassificationData(ImageFolder(train_folder), 3, synthetic=str(dataset), batches=batches)
    with pytest.raises(UserError, match=r"0\.01 of a pool with 9 real images is no synthetic image; raise it"):
        next(iter(module.train_dataloader()))


def test_synthetic_images_that_processes_cannot_share(dataset: Path, train_folder: Path) -> None:
    """Each process would round its own share, and the fraction would change with their number."""
    batches = Batches(batch_size=6, image_size=SIDE)
    module = ClassificationData(ImageFolder(train_folder), 3, synthetic=str(dataset), batches=batches)
    module.trainer = SimpleNamespace(global_rank=0, world_size=2)
    with pytest.raises(UserError, match=r"3 synthetic images of a batch cannot be shared by 2 processes; choose"):
        module.train_dataloader()


def test_batches_that_processes_cannot_share(train_folder: Path) -> None:
    module = data(train_folder)
    module.trainer = SimpleNamespace(global_rank=0, world_size=3)
    with pytest.raises(UserError, match=r"batch_size: 4 images cannot be shared by 3 processes; choose a multiple"):
        module.train_dataloader()
