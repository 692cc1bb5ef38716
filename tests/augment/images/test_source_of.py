from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, make_images, paint
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature

from augment.errors import UserError
from augment.images.source_of import source_of
from augment.images.sources import (
    Combined,
    Digits,
    HubDataset,
    ImageFolder,
    SavedDataset,
    Shards,
    TableFolder,
    TorchvisionDataset,
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = ["file,label,split"]
    for n in range(4):
        paint(tmp_path / "flat" / f"{n}.png", (50, 50, 50), n)
        rows.append(f"{n}.png,{'ab'[n % 2]},{'train' if n < 2 else 'test'}")
    (tmp_path / "flat" / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "flat" / "labels.csv"


def save(folder: Path) -> Dataset:
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=list(COLOURS))})
    paths = [str(path) for path in sorted(folder.rglob("*.png"))]
    labels = [list(COLOURS).index(Path(path).parent.name) for path in paths]
    return Dataset.from_dict({"image": paths, "label": labels}, features=features)


def test_words() -> None:
    assert isinstance(source_of("digits"), Digits)
    hub = source_of("hub:owner/name", split="small", label_column="fine", subset="x")
    assert isinstance(hub, HubDataset)
    assert (hub.name, hub.split, hub.label_column, hub.subset) == ("owner/name", "small", "fine", "x")
    flowers = source_of("torchvision:flowers102", root="elsewhere")
    assert isinstance(flowers, TorchvisionDataset)
    assert (flowers.name, flowers.root) == ("Flowers102", Path("elsewhere"))


def test_class_folders(train_folder: Path, test_folder: Path) -> None:
    source = source_of(str(train_folder), str(test_folder))
    assert isinstance(source, ImageFolder)
    assert (source.path, source.test_path) == (train_folder, test_folder)
    alone = source_of(str(train_folder))
    assert isinstance(alone, ImageFolder)
    assert alone.test_path is None


def test_a_folder_that_holds_train_and_test(tmp_path: Path) -> None:
    make_images(tmp_path / "train", 2, 0)
    make_images(tmp_path / "test", 1, 500)
    source = source_of(str(tmp_path))
    assert source.classes == tuple(COLOURS)
    assert (len(source.pool), len(source.test)) == (6, 3)


def test_a_table(table: Path) -> None:
    for source in (source_of(str(table.parent), labels=str(table)), source_of(str(table))):
        assert isinstance(source, TableFolder)
        assert (source.path, source.labels) == (table.parent, table)
        assert (len(source.pool), len(source.test)) == (2, 2)


def test_a_folder_of_datasets(train_folder: Path, tmp_path: Path) -> None:
    save(train_folder).save_to_disk(tmp_path / "disk")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    save(train_folder).to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    for place in ("disk", "hub", "hub/data/train-00000-of-00001.parquet"):
        assert isinstance(source_of(str(tmp_path / place)), SavedDataset)


def test_shards(dataset: Path) -> None:
    for place in (dataset, dataset / "train-000000.tar", f"{dataset}/train-*.tar"):
        assert isinstance(source_of(str(place)), Shards)


def test_test_images_of_another_kind(dataset: Path, test_folder: Path) -> None:
    source = source_of(str(dataset), str(test_folder))
    assert isinstance(source, Combined)
    assert source.classes == tuple(COLOURS)
    assert (len(source.pool), len(source.test)) == (12, 9)
    expected = ImageFolder(test_folder)
    for item, theirs in zip(source.test, expected.pool, strict=True):
        assert (item.name, item.label, item.split) == (theirs.name, theirs.label, "test")
        assert source.content(item) == expected.content(theirs)
        assert np.array_equal(np.asarray(source.image(item)), np.asarray(expected.image(theirs)))
    assert source.content(source.pool[0]) == Shards(dataset).content(source.pool[0])


def test_the_split_of_other_test_images(train_folder: Path) -> None:
    source = source_of(str(train_folder), "hub:owner/name", test_split="validation")
    assert isinstance(source, Combined)
    assert isinstance(source.tested, HubDataset)
    assert source.tested.split == "validation"


def test_labels_of_other_test_images_may_stand_at_another_index(tmp_path: Path) -> None:
    make_images(tmp_path / "train", 1, 0)
    make_images(tmp_path / "test", 1, 9, {"rød": COLOURS["rød"]})
    source = Combined(ImageFolder(tmp_path / "train"), ImageFolder(tmp_path / "test"))
    (item,) = source.test
    assert (item.label, source.classes[item.label]) == (2, "rød")
    assert source.content(item) == (tmp_path / "test" / "rød" / "00.png").read_bytes()


def test_other_test_images_have_the_same_classes(tmp_path: Path, train_folder: Path) -> None:
    make_images(tmp_path, 1, 9, {"cat": (1, 2, 3)})
    message = "source.test_path: 'cat': no such class among the 3 of the training images, which begin with 'blue sky'"
    with pytest.raises(UserError, match=message):
        _ = Combined(ImageFolder(train_folder), ImageFolder(tmp_path)).test


@pytest.mark.parametrize(
    ("images", "more", "message"),
    [
        ("nowhere", {}, "images: no folder 'nowhere'; give a folder of class folders, .* hub:NAME"),
        ("digits", {"test_images": "nowhere"}, "test_images: no folder 'nowhere'; give a folder of class folders"),
        (
            "torchvision:Flower102",
            {},
            "no data set 'torchvision:Flower102'; did you mean torchvision:Flowers102. T",
        ),
        ("torchvision:zzz", {}, "images: no data set 'torchvision:zzz'; There are Flowers102, Oxford"),
        ("digits", {"split": "train"}, "split: 'train' means nothing for the images 'digits'; leave it out"),
        ("hub:a/b", {"root": "x"}, "root: 'x' means nothing for the images 'hub:a/b'; leave it out"),
        ("torchvision:DTD", {"labels": "x.csv"}, "labels: 'x.csv' means nothing for the images 'torchvision:DTD'"),
    ],
)
def test_refusals(images: str, more: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        source_of(images, **more)


def test_a_file_of_no_known_kind(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("")
    with pytest.raises(
        UserError, match=r"images: '.*a.zip' is a file of no known kind; give a folder of class folders"
    ):
        source_of(str(tmp_path / "a.zip"))


def test_splits_mean_nothing_for_class_folders(train_folder: Path) -> None:
    with pytest.raises(UserError, match=r"test_split: 'dev' means nothing for the images '.*'; leave it out"):
        source_of(str(train_folder), test_split="dev")
