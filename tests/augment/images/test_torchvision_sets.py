"""Each data set is read by torchvision's own class from a tiny folder in its layout."""

import hashlib
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import paint
from scipy.io import savemat
from torchvision import datasets

from augment.errors import UserError
from augment.images.sources import TorchvisionDataset
from augment.images.sources.torchvision_sets import LAYOUTS, NAMES, default_root
from augment.runtime.claim import check_outside


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def pictures(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        paint(folder / name, (90, 90, 90), seed)


def flowers(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "flowers-102"
    pictures(base / "jpg", [f"image_{n:05d}.jpg" for n in range(1, 7)])
    savemat(base / "imagelabels.mat", {"labels": [1, 2, 1, 2, 1, 2]})
    savemat(base / "setid.mat", {"trnid": [1, 2], "valid": [3, 4], "tstid": [5, 6]})
    patch.setattr(
        datasets.Flowers102,
        "_file_dict",
        {
            "label": ("imagelabels.mat", md5(base / "imagelabels.mat")),
            "setid": ("setid.mat", md5(base / "setid.mat")),
            "image": ("102flowers.tgz", ""),
        },
    )


def pets(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "oxford-iiit-pet"
    pictures(base / "images", ["Bengal_1.jpg", "pug_dog_1.jpg", "Bengal_2.jpg", "pug_dog_2.jpg"])
    (base / "annotations").mkdir()
    (base / "annotations" / "trainval.txt").write_text("Bengal_1 1 1 1\npug_dog_1 2 2 1\n")
    (base / "annotations" / "test.txt").write_text("Bengal_2 1 1 1\npug_dog_2 2 2 1\n")


def aircraft(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "fgvc-aircraft-2013b" / "data"
    pictures(base / "images", ["1.jpg", "2.jpg", "3.jpg", "4.jpg"])
    (base / "variants.txt").write_text("A340-300\n707-320\n")
    (base / "images_variant_trainval.txt").write_text("1 A340-300\n2 707-320\n")
    (base / "images_variant_test.txt").write_text("3 A340-300\n4 707-320\n")


def textures(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "dtd" / "dtd"
    parts = {"train": [1, 2], "val": [3], "test": [4]}
    pictures(base / "images", [f"{c}/{c}_{n}.jpg" for c in ("banded", "dotted") for n in range(1, 5)])
    (base / "labels").mkdir()
    for part, numbers in parts.items():
        lines = [f"{c}/{c}_{n}.jpg" for c in ("banded", "dotted") for n in numbers]
        (base / "labels" / f"{part}1.txt").write_text("\n".join(lines))


def eurosat(root: Path, patch: pytest.MonkeyPatch) -> None:
    names = [f"{c}/{c}_{n}.jpg" for c in ("Forest", "River") for n in range(10)]
    pictures(root / "eurosat" / "2750", names)


def food(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "food-101"
    parts = {"train": ["1", "2"], "test": ["3"]}
    pictures(base / "images", [f"{c}/{n}.jpg" for c in ("apple_pie", "waffles") for n in (1, 2, 3)])
    (base / "meta").mkdir()
    for part, numbers in parts.items():
        listed = {c: [f"{c}/{n}" for n in numbers] for c in ("apple_pie", "waffles")}
        (base / "meta" / f"{part}.json").write_text(json.dumps(listed))


def cars(root: Path, patch: pytest.MonkeyPatch) -> None:
    base = root / "stanford_cars"
    pictures(base / "cars_train", ["1.jpg", "2.jpg"])
    pictures(base / "cars_test", ["1.jpg", "2.jpg"])
    (base / "devkit").mkdir()
    kind = np.dtype([("fname", object), ("class", object)])
    annotations = np.array([("1.jpg", 1), ("2.jpg", 2)], dtype=kind)
    savemat(base / "devkit" / "cars_train_annos.mat", {"annotations": annotations})
    savemat(base / "cars_test_annos_withlabels.mat", {"annotations": annotations})
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array(["AM General", "Acura RL"], dtype=object)})


def caltech(root: Path, patch: pytest.MonkeyPatch) -> None:
    names = [f"{c}/image_{n:04d}.jpg" for c in ("BACKGROUND_Google", "ant", "emu") for n in range(1, 11)]
    pictures(root / "caltech101" / "101_ObjectCategories", names)


def cifar(root: Path, patch: pytest.MonkeyPatch, kind: type[datasets.CIFAR10], names: str, labels: str) -> None:
    base = root / kind.base_folder
    base.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (6, 3072), dtype=np.uint8)
    for file, part in (("train", slice(0, 4)), ("test", slice(4, 6))):
        (base / file).write_bytes(pickle.dumps({"data": pixels[part], labels: [0, 1, 0, 1, 0, 1][part]}))
        patch.setattr(kind, f"{file}_list", [[file, md5(base / file)]])
    (base / "meta").write_bytes(pickle.dumps({names: ["first", "second"]}))
    patch.setattr(kind, "meta", {"filename": "meta", "key": names, "md5": md5(base / "meta")})


def cifar10(root: Path, patch: pytest.MonkeyPatch) -> None:
    cifar(root, patch, datasets.CIFAR10, "label_names", "labels")


def cifar100(root: Path, patch: pytest.MonkeyPatch) -> None:
    cifar(root, patch, datasets.CIFAR100, "fine_label_names", "fine_labels")


Replica = Callable[[Path, pytest.MonkeyPatch], None]

REPLICAS: dict[str, tuple[Replica, int, int, list[str]]] = {
    "Flowers102": (flowers, 4, 2, ["pink primrose", "hard-leaved pocket orchid"]),
    "OxfordIIITPet": (pets, 2, 2, ["Bengal", "Pug Dog"]),
    "FGVCAircraft": (aircraft, 2, 2, ["A340-300", "707-320"]),
    "DTD": (textures, 6, 2, ["banded", "dotted"]),
    "EuroSAT": (eurosat, 16, 4, ["Forest", "River"]),
    "Food101": (food, 4, 2, ["apple_pie", "waffles"]),
    "StanfordCars": (cars, 2, 2, ["AM General", "Acura RL"]),
    "Caltech101": (caltech, 16, 4, ["ant", "emu"]),
    "CIFAR10": (cifar10, 4, 2, ["first", "second"]),
    "CIFAR100": (cifar100, 4, 2, ["first", "second"]),
}
"""The maker of a replica, its images in both splits, and its first classes."""


def theirs(name: str, root: Path) -> list[tuple[np.ndarray, int]]:
    """The images and labels that torchvision's own class gives, of all its parts."""
    layout = LAYOUTS[name]
    parts = [getattr(datasets, name)(root, **arguments) for arguments in (*layout.pool, *layout.test)]
    return [(np.asarray(image.convert("RGB")), int(label)) for part in parts for image, label in part]


@pytest.mark.parametrize("name", NAMES)
def test_a_replica_gives_what_torchvision_gives(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, pool, test, classes = REPLICAS[name]
    make(tmp_path, monkeypatch)
    source = TorchvisionDataset(name, tmp_path)
    assert list(source.classes[:2]) == classes
    assert (len(source.pool), len(source.test)) == (pool, test)
    items = (*source.pool, *source.test)
    assert len({item.name for item in items}) == pool + test
    assert [item.split for item in items] == ["pool"] * pool + ["test"] * test
    assert len({source.sha256(item) for item in items}) > 1

    def known(pixels: np.ndarray, label: int) -> tuple[bytes, int]:
        return pixels.tobytes(), label

    ours = sorted(known(np.asarray(source.image(item)), item.label) for item in items)
    assert ours == sorted(known(*pair) for pair in theirs(name, tmp_path))


def test_official_splits_share_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    textures(tmp_path, monkeypatch)
    source = TorchvisionDataset("DTD", tmp_path)
    assert {Path(item.name).name for item in source.test} == {"banded_4.jpg", "dotted_4.jpg"}


def test_a_cut_of_our_own_is_the_same_whatever_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eurosat(tmp_path, monkeypatch)
    source, again = TorchvisionDataset("EuroSAT", tmp_path), TorchvisionDataset("EuroSAT", tmp_path)
    assert (source.pool, source.test) == (again.pool, again.test)
    assert [item.label for item in source.test] == [0, 0, 1, 1]


def no_network(*_: Any, **__: Any) -> None:
    raise OSError("<urlopen error [Errno -2] Name or service not known>")


@pytest.mark.parametrize("name", NAMES)
def test_no_network_says_where_the_files_go(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way that torchvision downloads by is cut off."""
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torchvision.datasets.utils.download_file_from_google_drive", no_network)
    monkeypatch.setattr("torchvision.datasets.caltech.download_file_from_google_drive", no_network, raising=False)
    begun = time.monotonic()
    with pytest.raises(UserError, match=rf"source.name: {name} is not whole in '.*' and cannot be down") as raised:
        _ = TorchvisionDataset(name, tmp_path).classes
    assert time.monotonic() - begun < 5
    assert raised.value.remedy.startswith(f"put its files there ({LAYOUTS[name].files})")
    assert raised.value.remedy.endswith("and give the folder as `source.root`")
    assert "\n" not in str(raised.value)
    assert ("download=True" in raised.value.remedy) == (name != "StanfordCars")


def test_files_of_which_some_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pets(tmp_path, monkeypatch)
    (tmp_path / "oxford-iiit-pet" / "annotations" / "test.txt").unlink()
    with pytest.raises(UserError, match=r"source.name: OxfordIIITPet is not whole in '.*' and cannot be downloaded \("):
        _ = TorchvisionDataset("OxfordIIITPet", tmp_path).classes


def test_nothing_is_written_among_the_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"output: '.*' lies in '.*', where the real images are read from"):
        check_outside(tmp_path / "out", TorchvisionDataset("CIFAR10", tmp_path).folders)


def test_an_unknown_name() -> None:
    with pytest.raises(UserError, match=r"source.name: no data set 'MNIST'; choose from Flowers102, Oxford"):
        TorchvisionDataset("MNIST")


def test_files_go_to_torchs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert TorchvisionDataset("DTD").root == default_root() == tmp_path / "datasets"
