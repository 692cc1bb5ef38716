import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS
from PIL import Image

from augment.dataset.reader import read_shard
from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import Shards
from augment.runtime.claim import check_outside


def jpeg(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (value, value, value)).save(stream, "jpeg")
    return stream.getvalue()


def write(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(classes: Sequence[str], first: int = 0) -> list[tuple[str, bytes]]:
    """An image and its class for each of these, as another's writer would have them."""
    pairs = [(f"{first + n:05d}", name) for n, name in enumerate(classes)]
    return [
        member
        for n, (key, name) in enumerate(pairs)
        for member in ((f"{key}.jpg", jpeg(10 * (first + n))), (f"{key}.cls", name.encode()))
    ]


def test_our_synthetic_set_is_a_source(dataset: Path) -> None:
    source = Shards(dataset)
    assert source.classes == tuple(COLOURS)
    assert len(source.pool) == 12
    expected = {
        f"{shard.stem}/{key}": (np.asarray(image), record["label"])
        for shard in sorted(dataset.glob("*.tar"))
        for key, image, record in read_shard(shard)
    }
    for item in source.pool:
        pixels, label = expected[item.name]
        assert item.label == label
        assert np.array_equal(np.asarray(source.image(item)), pixels)
    assert [len(members) for members in choose_few_shot_set(source, 2, 0).shots] == [2, 2, 2]


def test_shards_of_another_writer(tmp_path: Path) -> None:
    write(tmp_path / "train-000.tar", samples(["1", "0", "10"]))
    write(tmp_path / "train-001.tar", samples(["1", "0"], first=3))
    write(tmp_path / "test-000.tar", samples(["10", "1"], first=7))
    source = Shards(tmp_path)
    assert source.classes == ("0", "1", "10")
    assert [item.label for item in source.pool] == [1, 0, 2, 1, 0]
    assert [(item.label, item.split) for item in source.test] == [(2, "test"), (1, "test")]
    assert source.content(source.pool[3]) == jpeg(30)
    assert source.content(source.test[0]) == jpeg(70)
    assert source.image(source.test[0]).getpixel((0, 0)) == (70, 70, 70)


def test_class_names_beside_the_shards_and_in_records(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train-0.tar", samples(["1", "0"]))
    (tmp_path / "a" / "classnames.txt").write_text("cat\ndog\n")
    assert Shards(tmp_path / "a").classes == ("cat", "dog")
    named = [("0.jpg", jpeg(0)), ("0.json", json.dumps({"label": 4, "class_name": "owl"}).encode())]
    write(tmp_path / "b" / "train-0.tar", named)
    assert Shards(tmp_path / "b").classes == ("owl",)


def test_classes_that_are_words(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(["dog", "cat", "dog"]))
    source = Shards(tmp_path / "train-0.tar")
    assert source.classes == ("cat", "dog")
    assert [item.label for item in source.pool] == [1, 0, 1]


@pytest.mark.parametrize("pattern", ["train-*.tar", "train-{000..001}.tar", "train-00[01].tar"])
def test_a_pattern_of_shards(tmp_path: Path, pattern: str) -> None:
    for n in range(3):
        write(tmp_path / f"train-{n:03d}.tar", samples(["0"], first=n))
    expected = 3 if "*" in pattern else 2
    assert len(Shards(f"{tmp_path}/{pattern}").pool) == expected


def test_keys_in_folders_of_a_shard(tmp_path: Path) -> None:
    members = [("a/x.jpg", jpeg(0)), ("a/x.cls", b"0"), ("b/x.jpg", jpeg(50)), ("b/x.cls", b"1")]
    source = Shards(write(tmp_path / "train.tar", members))
    assert [(item.name, item.label) for item in source.pool] == [("train/a/x", 0), ("train/b/x", 1)]


def refused(source: Shards, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        _ = (source.classes, source.pool, source.test)
    assert "\n" not in str(raised.value)


def test_no_shards(tmp_path: Path) -> None:
    refused(Shards(tmp_path), "source.path: no shards at '.*'; give a folder of .tar files, or a pattern of them")
    refused(Shards(f"{tmp_path}/train-{{0..3}}.tar"), "source.path: no shards at '.*train-{0..3}.tar'; give a folder")
    write(tmp_path / "test-0.tar", samples(["0"]))
    refused(Shards(tmp_path), "source.path: '.*' has test shards alone; name a shard or a pattern")


def test_no_test_shards(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(["0"]))
    refused(Shards(tmp_path), "source.test_path: '.*' has no shards of test images; a classifier needs test images")


def test_images_without_a_class(tmp_path: Path) -> None:
    members = [(f"{n}.jpg", jpeg(n)) for n in range(4)]
    shard = write(tmp_path / "train.tar", members)
    refused(Shards(shard), "source.path: 4 images have no class: 'train/0', 'train/1', 'train/2' and 1 more; give each")
    refused(Shards(write(tmp_path / "empty.tar", [])), "source.path: its shards have no images; give each")


def test_a_shard_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(b"no tar at all" * 100)
    refused(Shards(tmp_path / "train.tar"), r"source.path: shard '.*train.tar' cannot be read \(.+\); make or copy it")


def test_a_class_of_the_test_shards_that_the_pool_lacks(tmp_path: Path) -> None:
    write(tmp_path / "train-0.tar", samples(["0"]))
    write(tmp_path / "test-0.tar", samples(["3"]))
    refused(Shards(tmp_path), "source.test_path: '3': no class of '.*' has this name; give both the same classes")


def test_an_image_that_is_broken(tmp_path: Path) -> None:
    source = Shards(write(tmp_path / "train.tar", [("a.jpg", b"none"), ("a.cls", b"0")]))
    with pytest.raises(UserError, match=r"image 'train/a': cannot be read \(.*\); replace it, or pass over it"):
        source.image(source.pool[0])


@pytest.mark.parametrize("path", ["shards", "shards/", "shards/train-*.tar", "shards/train-{000..001}.tar"])
def test_nothing_is_written_among_the_shards(tmp_path: Path, path: str) -> None:
    source = Shards(tmp_path / path)
    check_outside(tmp_path / "beside", source.folders)
    with pytest.raises(UserError, match=r"output: '.*' lies in '.*shards', where the real images are read from"):
        check_outside(tmp_path / "shards" / "out", source.folders)


def test_beside_a_single_shard_anything_may_be_written(tmp_path: Path) -> None:
    check_outside(tmp_path / "out", Shards(tmp_path / "train.tar").folders)


def test_a_record_nested_without_end_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", [*samples(["x"]), ("00000.json", b"[" * 100_000)])
    with pytest.raises(UserError, match=r"shard '.*a\.tar' cannot be read \(is not JSON \("):
        _ = Shards(tmp_path / "a.tar").pool
