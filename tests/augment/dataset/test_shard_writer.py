import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from augment.dataset.reader import is_complete, read_shard, shard_keys
from augment.dataset.shard_writer import (
    ImageFormat,
    Sample,
    ShardFile,
    committed_sha256,
    encode_image,
    note_path,
    shard_name,
)
from augment.errors import UserError
from augment.runtime.files import write_json
from augment.synthesis.plan import Plan, plan_batches, plan_shards

PLANS = [
    (Plan(per_class=7, shard_size=5, batch_size=2), [0, 1, 2]),
    (Plan(per_class=4, shard_size=100, batch_size=16), [3, 9]),
    (Plan(per_class=1, shard_size=1, batch_size=1), [0]),
    (Plan(per_class=6, shard_size=4, batch_size=4), [0, 2, 5, 7]),
]
plans = pytest.mark.parametrize(("plan", "labels"), PLANS)


@plans
def test_shards_hold_every_sample_exactly_once(plan: Plan, labels: list[int]) -> None:
    samples = [sample for shard in plan_shards(plan, labels) for sample in shard]
    assert len(samples) == len(set(samples))
    assert set(samples) == {Sample(label, index) for label in labels for index in range(plan.per_class)}


@plans
def test_all_shards_but_the_last_are_full_and_sorted(plan: Plan, labels: list[int]) -> None:
    shards = plan_shards(plan, labels)
    assert all(len(shard) == plan.shard_size for shard in shards[:-1])
    assert 0 < len(shards[-1]) <= plan.shard_size
    assert all(list(shard) == sorted(shard, key=lambda sample: sample.key) for shard in shards)


@plans
def test_any_prefix_of_the_shards_is_balanced(plan: Plan, labels: list[int]) -> None:
    seen: Counter[int] = Counter(dict.fromkeys(labels, 0))
    for shard in plan_shards(plan, labels):
        seen.update(sample.label for sample in shard)
        assert max(seen.values()) - min(seen.values()) <= 1


@plans
def test_a_batch_never_crosses_the_edge_of_a_shard(plan: Plan, labels: list[int]) -> None:
    for number, shard in enumerate(plan_shards(plan, labels)):
        batches = plan_batches(number, shard, plan.batch_size)
        assert tuple(sample for batch in batches for sample in batch.samples) == shard
        assert all(batch.shard == number and 0 < len(batch) <= plan.batch_size for batch in batches)
        assert [batch.first for batch in batches] == [True] + [False] * (len(batches) - 1)
        assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]


def test_a_larger_dataset_begins_with_the_smaller_one() -> None:
    small = plan_shards(Plan(per_class=4, shard_size=6), [0, 1, 2])
    large = plan_shards(Plan(per_class=8, shard_size=6), [0, 1, 2])
    assert large[: len(small)] == small


def test_keys_have_no_dots_and_sort_like_samples() -> None:
    samples = [Sample(label, index) for label in (0, 9, 10, 9999) for index in (0, 9, 10, 999_999)]
    keys = [sample.key for sample in samples]
    assert keys == sorted(keys)
    assert not any("." in key for key in keys)
    assert Sample(12, 345).key == "0012_000345"


@pytest.mark.parametrize(("plan", "labels"), [(Plan(per_class=1_000_001), [0]), (Plan(per_class=1), [10_000])])
def test_more_than_keys_can_hold_is_refused(plan: Plan, labels: list[int]) -> None:
    with pytest.raises(UserError, match=r"keys hold at most 10,000 classes of 1,000,000 images"):
        plan_shards(plan, labels)


def record(label: int, name: str = "rød. grå") -> dict[str, Any]:
    return {"label": label, "class": name, "weights": [0.25, 0.75]}


def picture(value: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(value).integers(0, 256, (8, 8, 3), dtype=np.uint8))


def write_shard(folder: Path, number: int = 0, count: int = 3, image_format: ImageFormat = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shard = ShardFile(folder, number)
    for index in range(count):
        shard.add(Sample(1, index).key, encode_image(picture(index), image_format), image_format, record(1))
    shard.commit()
    return shard.path


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    first, second = write_shard(tmp_path / "a"), write_shard(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != write_shard(tmp_path / "c", count=2).read_bytes()


def test_members_are_sorted_and_name_no_person_and_no_time(tmp_path: Path) -> None:
    with tarfile.open(write_shard(tmp_path, count=2)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [
        f"0001_{index:06d}.{extension}" for index in (0, 1) for extension in ("cls", "json", "png")
    ]
    facts = {(member.mtime, member.mode, member.uid, member.gid, member.uname, member.gname) for member in members}
    assert facts == {(0, 0o644, 0, 0, "", "")}


def test_a_shard_reads_back_as_it_was_written(tmp_path: Path) -> None:
    for index, (key, image, found) in enumerate(read_shard(write_shard(tmp_path))):
        assert key == Sample(1, index).key
        assert np.array_equal(np.asarray(image), np.asarray(picture(index)))
        assert found == record(1)


@pytest.mark.parametrize(("image_format", "pillow"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_image_formats(tmp_path: Path, image_format: ImageFormat, pillow: str) -> None:
    flat = Image.new("RGB", (8, 8), (30, 120, 220))
    content = encode_image(flat, image_format)
    assert content == encode_image(flat, image_format)
    decoded = Image.open(io.BytesIO(content))
    assert decoded.format == pillow
    assert np.abs(np.asarray(decoded.convert("RGB"), dtype=int) - np.asarray(flat)).max() <= 4
    ((_, image, _),) = read_shard(write_shard(tmp_path, count=1, image_format=image_format))
    assert image.size == (8, 8)


def test_the_name_appears_only_with_the_commit(tmp_path: Path) -> None:
    shard = ShardFile(tmp_path, 4)
    shard.add("0000_000000", b"image", "png", record(0))
    assert not (tmp_path / shard_name(4)).exists()
    shard.commit()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".train-000004.tar.sha256", "train-000004.tar"]
    assert committed_sha256(shard.path) == hashlib.sha256(shard.path.read_bytes()).hexdigest()


class Flushed:
    """In place of `os.fsync`: notes each file's inode and size, and whether the final name is there yet."""

    def __init__(self, final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.facts: list[tuple[int, int, bytes | None]] = []
        self.final = final
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, file: int) -> None:
        status = os.fstat(file)
        self.facts.append((status.st_ino, status.st_size, self.final.read_bytes() if self.final.exists() else None))


def test_a_shard_is_whole_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut could leave an empty file that looks finished. The image's size leaves a tar's last 1.5 KB to
    the stream's buffer: what is larger is written through.
    """
    shard = ShardFile(tmp_path, 0)
    shard.add("0000_000000", bytes(6144), "png", record(0))
    flushed = Flushed(shard.path, monkeypatch)
    shard.commit()
    status = shard.path.stat()
    assert flushed.facts[0] == (status.st_ino, status.st_size, None)
    note = note_path(shard.path).stat()
    assert flushed.facts[1:] == [(note.st_ino, note.st_size, None)]


def test_json_is_whole_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    flushed = Flushed(path, monkeypatch)
    write_json(path, {"a": 12})
    assert flushed.facts == [(path.stat().st_ino, path.stat().st_size, before)]


def test_drop_removes_what_was_begun(tmp_path: Path) -> None:
    shard = ShardFile(tmp_path, 0)
    shard.add("0000_000000", b"image", "png", record(0))
    shard.drop()
    assert list(tmp_path.iterdir()) == []
    shard.drop()  # nothing is left to be removed


def test_a_shard_that_was_never_committed_has_no_hash(tmp_path: Path) -> None:
    path = tmp_path / shard_name(3)
    assert committed_sha256(path) is None
    note_path(path).write_text("0a1b\n", encoding="utf-8")
    assert committed_sha256(path) == "0a1b"


def test_members_are_what_readers_want(tmp_path: Path) -> None:
    """The class as text, the image as it is, and JSON with sorted keys, in which names stay as they are."""
    shard = ShardFile(tmp_path, 0)
    shard.add("0002_000007", b"image", "webp", {"name": "rød", "label": 2, "class": "b"})
    shard.commit()
    with tarfile.open(shard.path) as tar:
        content = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}
    assert content == {
        "0002_000007.cls": b"2",
        "0002_000007.json": '{"class": "b", "label": 2, "name": "rød"}'.encode(),
        "0002_000007.webp": b"image",
    }


def test_completeness_is_exactly_the_planned_samples(tmp_path: Path) -> None:
    path = write_shard(tmp_path, count=3)
    planned = [Sample(1, index) for index in range(3)]
    assert is_complete(path, planned)
    assert not is_complete(path, planned[:2])
    assert not is_complete(path, [*planned, Sample(1, 3)])
    assert not is_complete(path, [Sample(2, index) for index in range(3)])
    assert not is_complete(tmp_path / "train-000009.tar", planned)


def block_ends(path: Path) -> list[int]:
    """Positions of a tar where a member ends: the cuts that a reader notices least."""
    with tarfile.open(path) as tar:
        return [member.offset_data + -(-member.size // 512) * 512 for member in tar.getmembers()]


def test_a_truncated_shard_is_not_complete(tmp_path: Path) -> None:
    path = write_shard(tmp_path, count=3)
    content, ends = path.read_bytes(), block_ends(path)
    planned = [Sample(1, index) for index in range(3)]
    # The last member's padding is the end of the content; the tar's own two closing blocks hold nothing.
    for size in [0, 100, 512, *ends[:-1], *(end - 600 for end in ends)]:
        path.write_bytes(content[:size])
        assert not is_complete(path, planned), f"cut to {size} of {len(content)} bytes"


def test_a_shard_cut_inside_its_last_image_is_not_complete(tmp_path: Path) -> None:
    path = write_shard(tmp_path, count=3)
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    path.write_bytes(path.read_bytes()[: last.offset_data + last.size // 2])
    assert not is_complete(path, [Sample(1, index) for index in range(3)])


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train-000000.tar"
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(
        UserError, match=r"shard '.*train-000000\.tar': it is broken \(.*\); run the same command again"
    ):
        shard_keys(path)


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"a": "å"})
    write_json(path, {"a": "ø"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ø"}
    assert "ø" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["facts.json"]
