import io
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import HubDataset, ImageSource, SavedDataset
from augment.images.sources import hub as hub_source

COLOURS = [(200, 30, 30), (30, 30, 200)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` keeps what it prepares in a folder of the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def png(label: int, seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(-20, 20, (12, 10, 3))
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(COLOURS[label]) + noise, 0, 255).astype(np.uint8)).save(stream, "png")
    return stream.getvalue()


def rows(count: int, seed: int, label_type: Any = None, **columns: str) -> Dataset:
    """Images whose label says which colour they have."""
    names = {"image": "image", "label": "label"} | columns
    labels = [n % 2 for n in range(count)]
    pictures = [{"bytes": png(label, seed + n), "path": None} for n, label in enumerate(labels)]
    label_type = label_type or ClassLabel(names=["red", "blue"])
    cells: list[Any] = [f"n{label}" for label in labels] if label_type == Value("string") else list(labels)
    features = Features({names["image"]: ImageFeature(), names["label"]: label_type})
    return Dataset.from_dict({names["image"]: pictures, names["label"]: cells}, features=features)


def splits(**parts: Dataset) -> DatasetDict:
    return DatasetDict(parts)


def check(source: ImageSource, pool: int, test: int) -> None:
    assert source.classes == ("red", "blue")
    assert (len(source.pool), len(source.test)) == (pool, test)
    for items, seed, split in ((source.pool, 0, "pool"), (source.test, 100, "test")):
        for n, item in enumerate(items):
            assert (item.label, item.split) == (n % 2, split)
            assert source.content(item) == png(n % 2, seed + n)
            pixels = np.asarray(source.image(item), dtype=float).mean((0, 1))
            assert np.allclose(pixels, COLOURS[item.label], atol=12)


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    splits(train=rows(6, 0), test=rows(4, 100)).save_to_disk(tmp_path / "saved")
    check(SavedDataset(tmp_path / "saved"), 6, 4)


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows(6, 0).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    rows(4, 100).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    check(SavedDataset(tmp_path), 6, 4)


def test_one_parquet_file_is_the_pool(tmp_path: Path) -> None:
    rows(6, 0).to_parquet(tmp_path / "mine.parquet")
    source = SavedDataset(tmp_path / "mine.parquet")
    assert (source.classes, len(source.pool)) == (("red", "blue"), 6)
    with pytest.raises(UserError, match=r"source.test_split: '.*mine.parquet' has no split 'test'; it has 'train'; ch"):
        _ = source.test


def test_the_imagefolder_layout_of_datasets(tmp_path: Path) -> None:
    """Class folders with a table of the Hub's kind, which `datasets` finds by itself; files stay where they are."""
    for n in range(4):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / f"{n}.png").write_bytes(png(n % 2, n))
    lines = "".join(f"{n}.png,{['red', 'blue'][n % 2]}\n" for n in range(4))
    (tmp_path / "train" / "metadata.csv").write_text("file_name,label\n" + lines)
    source = SavedDataset(tmp_path)
    assert source.classes == ("blue", "red")
    assert [item.label for item in source.pool] == [1, 0, 1, 0]
    assert [source.content(item) for item in source.pool] == [png(n % 2, n) for n in range(4)]


def test_a_single_split_is_the_pool_and_validation_stands_in_for_test(tmp_path: Path) -> None:
    rows(6, 0).save_to_disk(tmp_path / "one")
    assert len(SavedDataset(tmp_path / "one").pool) == 6
    splits(train=rows(6, 0), validation=rows(4, 100)).save_to_disk(tmp_path / "two")
    check(SavedDataset(tmp_path / "two"), 6, 4)


def test_columns_and_splits_may_be_named(tmp_path: Path) -> None:
    columns = {"image": "photo", "label": "kind"}
    parts = splits(first=rows(6, 0, **columns), second=rows(4, 100, **columns))
    parts.save_to_disk(tmp_path / "saved")
    check(SavedDataset(tmp_path / "saved", "first", "second"), 6, 4)
    check(SavedDataset(tmp_path / "saved", "first", "second", "photo", "kind"), 6, 4)


def test_labels_that_are_text(tmp_path: Path) -> None:
    rows(6, 0, Value("string")).save_to_disk(tmp_path / "saved")
    source = SavedDataset(tmp_path / "saved")
    assert source.classes == ("n0", "n1")
    assert [item.label for item in source.pool] == [0, 1, 0, 1, 0, 1]


def test_a_few_shot_set_is_pinned_by_the_stored_bytes(tmp_path: Path) -> None:
    rows(6, 0).save_to_disk(tmp_path / "disk")
    rows(6, 0).to_parquet(tmp_path / "file.parquet")
    sets = [choose_few_shot_set(SavedDataset(tmp_path / name), 2, 0) for name in ("disk", "file.parquet")]
    assert sets[0] == sets[1]


def refused(source: ImageSource, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        _ = (source.classes, source.pool, source.test)
    assert "\n" not in str(raised.value)


def test_a_data_set_without_labels(tmp_path: Path) -> None:
    rows(4, 0).remove_columns("label").save_to_disk(tmp_path / "saved")
    message = "source.label_column: '.*saved' has no column of labels: its columns are 'image'; name the one that holds"
    refused(SavedDataset(tmp_path / "saved"), message)


def test_a_data_set_with_two_columns_of_images(tmp_path: Path) -> None:
    masks = rows(4, 9, image="mask").remove_columns("label")
    datasets.concatenate_datasets([rows(4, 0), masks], axis=1).save_to_disk(tmp_path / "saved")
    message = "source.image_column: '.*saved' has several columns of images: its columns are 'image', 'label', 'mask'"
    refused(SavedDataset(tmp_path / "saved"), message)


def test_a_column_or_a_split_that_does_not_exist(tmp_path: Path) -> None:
    splits(train=rows(4, 0), test=rows(2, 100)).save_to_disk(tmp_path / "saved")
    saved = tmp_path / "saved"
    refused(SavedDataset(saved, label_column="fine"), "source.label_column: .* no column 'fine'; choose from 'image',")
    refused(SavedDataset(saved, split="trian"), "source.split: '.*' has no split 'trian'; it has 'train', 'test'; ch")
    refused(SavedDataset(saved, test_split="dev"), "source.test_split: '.*' has no split 'dev'; it has 'train', 'test'")


def test_rows_without_a_label(tmp_path: Path) -> None:
    hidden = rows(4, 100).map(lambda row, n: {"label": -1 if n > 1 else row["label"]}, with_indices=True)
    splits(train=rows(4, 0), test=hidden).save_to_disk(tmp_path / "saved")
    message = "source.test_split: 2 of the 4 rows in split 'test' of '.*saved' have no label .*, rows '2', '3'; choose"
    refused(SavedDataset(tmp_path / "saved"), message)


def test_an_empty_image_is_one_that_cannot_be_read(tmp_path: Path) -> None:
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["red"])})
    Dataset.from_dict({"image": [None], "label": [0]}, features=features).save_to_disk(tmp_path / "saved")
    source = SavedDataset(tmp_path / "saved")
    with pytest.raises(UserError, match=r"image 'train/000000': is empty in '.*saved'; pass over it with `skip_bad`"):
        source.image(source.pool[0])


def test_a_folder_that_datasets_cannot_read(tmp_path: Path) -> None:
    refused(SavedDataset(tmp_path / "nowhere"), "source.path: no folder '.*nowhere'; give one that `datasets` saved")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_text("none")
    refused(SavedDataset(tmp_path / "broken"), "source.path: '.*broken' cannot be read by `datasets`")


# The Hub, which no test asks.


def test_a_hub_data_set_has_its_splits_and_columns_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, subset: str | None) -> DatasetDict:
        asked.append((name, subset))
        return splits(train=rows(6, 0), test=rows(4, 100))

    answering(monkeypatch, FoundIt)
    monkeypatch.setattr(datasets, "load_dataset", load)
    check(HubDataset("owner/name", "small"), 6, 4)
    assert asked == [("owner/name", "small")]


class FoundIt:
    """A Hub that has every data set."""

    def dataset_info(self, name: str, timeout: float) -> None:
        pass


def answering(monkeypatch: pytest.MonkeyPatch, hub: type) -> None:
    """There is a network, with this Hub at its other end."""
    monkeypatch.setattr(hub_source, "one_try", lambda: nullcontext(True))
    monkeypatch.setattr("huggingface_hub.HfApi", hub)


@pytest.mark.usefixtures("no_network")
def test_no_network_is_one_quick_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    begun = time.monotonic()
    message = (
        "source.name: no network: 'owner/name' is not on this machine, and the Hub cannot be reached; "
        "run `hf download --repo-type dataset owner/name --local-dir FOLDER` where there is one, and give FOLDER in"
    )
    refused(HubDataset("owner/name"), message)
    assert time.monotonic() - begun < 5


def test_the_hub_offline_by_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is set in all tests."""
    refused(HubDataset("owner/name"), "source.name: no network: 'owner/name' is not on this machine")
    assert datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize("name", ["", "a/b/c", "a name"])
def test_a_name_that_is_none(name: str) -> None:
    refused(HubDataset(name), f"source.name: '{name}' is no name of a data set; give OWNER/NAME")


def answer(kind: str) -> type:
    """A Hub that refuses."""
    from huggingface_hub import errors

    class Refusing:
        def dataset_info(self, name: str, timeout: float) -> None:
            raise getattr(errors, kind).__new__(getattr(errors, kind))

    return Refusing


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("RepositoryNotFoundError", "source.name: the Hub has no data set 'owner/name', or not for you; look up"),
        ("GatedRepoError", "source.name: 'owner/name' asks for its owner's leave; ask for it at"),
    ],
)
def test_what_the_hub_refuses(kind: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, answer(kind))
    refused(HubDataset("owner/name"), message)


def test_a_hub_data_set_of_several_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, subset: str | None) -> DatasetDict:
        raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['a', 'b']")

    answering(monkeypatch, FoundIt)
    monkeypatch.setattr(datasets, "load_dataset", load)
    refused(HubDataset("owner/name"), r"source.subset: 'owner/name' \(Config name is missing. Please .*\['a', 'b'\]\)")
