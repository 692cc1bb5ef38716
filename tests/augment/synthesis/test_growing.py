"""A dataset grows: more images per class add shards, and make anew only the last one if it had room."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Job, leftovers, mtimes, sha256s

from augment.cli import main
from augment.dataset import folder as dataset_folder
from augment.dataset.manifest import read_manifest
from augment.dataset.shard_writer import ShardFile, note_path
from augment.dataset.verify import is_whole, verify
from augment.errors import UserError
from augment.synthesis.plan import Plan, plan_shards

Fails = Callable[..., str]


@pytest.fixture(scope="module")
def small(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of each of 3 classes, in shards of 4, 4 and 1."""
    return job.synthesize(tmp_path_factory.mktemp("small") / "set", per_class=3)


@pytest.fixture(scope="module")
def large(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of each class at once, in five shards of 4 and one of 1."""
    return job.synthesize(tmp_path_factory.mktemp("large") / "set", per_class=7)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    shutil.copytree(small.parent / "bank", tmp_path / "bank")
    return Path(shutil.copytree(small, tmp_path / "set"))


@pytest.mark.parametrize("labels", [[0], [0, 1, 2], [1, 4, 5, 7, 9]])
@pytest.mark.parametrize("shard_size", [1, 4, 7, 128])
def test_full_shards_do_not_depend_on_the_size(labels: list[int], shard_size: int) -> None:
    small, large = (plan_shards(Plan(per_class, shard_size), labels) for per_class in (20, 50))
    full = 20 * len(labels) // shard_size
    assert small[:full] == large[:full]
    assert all(set(a) <= set(b) for a, b in zip(small, large, strict=False))  # and the last one is only filled up


def test_a_grown_dataset_is_the_large_one(job: Job, copy: Path, large: Path) -> None:
    kept = {name: time for name, time in mtimes(copy).items() if name in ("train-000000.tar", "train-000001.tar")}
    job.synthesize(copy, per_class=7)
    assert sha256s(copy) == sha256s(large)
    assert mtimes(copy).items() >= kept.items()
    assert verify(copy) == 21
    for name in ("dataset.json", "_info.json", "README.md"):
        assert (copy / name).read_text(encoding="utf-8") == (large / name).read_text(encoding="utf-8")
    assert not list(copy.glob(".*"))
    run = json.loads((copy / "run.json").read_text())
    assert (run["runs"], run["images"]) == (2, 9 + 13)  # one image of the last shard was made twice


def test_an_unfinished_dataset_grows(job: Job, copy: Path, large: Path) -> None:
    manifest = read_manifest(copy)
    (copy / "dataset.json").write_text(json.dumps(manifest | {"shards": {}}), encoding="utf-8")
    note_path(copy / "train-000001.tar").write_text(manifest["shards"]["train-000001.tar"]["sha256"])
    (copy / "train-000000.tar").unlink()
    kept = mtimes(copy)["train-000001.tar"]
    job.synthesize(copy, per_class=7)
    assert sha256s(copy) == sha256s(large)
    assert mtimes(copy)["train-000001.tar"] == kept


class StoppedError(Exception):
    """In place of a kill."""


def stop(*args: object) -> None:
    raise StoppedError


def test_a_kill_before_the_new_description_leaves_the_small_dataset(
    job: Job, copy: Path, small: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed, pytest.raises(StoppedError):
        killed.setattr(dataset_folder, "write_json", stop)
        job.synthesize(copy, per_class=7)
    assert verify(copy) == 9
    job.synthesize(copy, per_class=3)
    files = {name: time for name, time in mtimes(copy).items() if name.endswith("tar")}
    assert files.keys() == {name for name in mtimes(small) if name.endswith("tar")} and leftovers(copy) == []
    assert sha256s(job.synthesize(copy, per_class=7)) == sha256s(large)


def test_a_kill_in_the_middle_leaves_the_large_dataset_unfinished(
    job: Job, copy: Path, large: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    commit = ShardFile.commit

    def third_fails(shard: ShardFile) -> None:
        stop() if shard.path.name == "train-000004.tar" else commit(shard)

    with monkeypatch.context() as killed, pytest.raises(StoppedError):
        killed.setattr(ShardFile, "commit", third_fails)
        job.synthesize(copy, per_class=7)
    assert not (copy / "_info.json").exists()
    with pytest.raises(UserError, match=r"set': 4 of 6 shards are good, 16 of 21 images; the dataset is not finished;"):
        verify(copy)
    assert "4 of 6 shards are good" in fails(main, ["verify", str(copy)], 3)
    assert "(plan.per_class: 7 there, 3 here)" in fails(main, ["synthesize", *job.args(copy, per_class=3)], 1)
    run = json.loads((copy / "run.json").read_text())
    assert (run["runs"], run["images"]) == (2, 9 + 8)  # what it made before it was stopped is accounted for
    kept = mtimes(copy)["train-000003.tar"]
    job.synthesize(copy, per_class=7)
    assert sha256s(copy) == sha256s(large)
    assert mtimes(copy)["train-000003.tar"] == kept
    after = json.loads((copy / "run.json").read_text())
    assert (after["runs"], after["images"]) == (3, 9 + 8 + 5)
    assert after["seconds"]["synthesize"] > run["seconds"]["synthesize"]


def test_a_kill_before_anything_new_leaves_the_large_dataset_unfinished(
    job: Job, copy: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last, partial shard is still the small one's, and does not count."""
    with monkeypatch.context() as killed, pytest.raises(StoppedError):
        killed.setattr(ShardFile, "commit", stop)
        job.synthesize(copy, per_class=7)
    with pytest.raises(UserError, match=r"2 of 6 shards are good, 8 of 21 images"):
        verify(copy)
    assert sha256s(job.synthesize(copy, per_class=7)) == sha256s(large)


def test_a_small_dataset_is_not_the_large_one_whole(copy: Path, large: Path) -> None:
    assert is_whole(copy, read_manifest(copy))
    assert not is_whole(copy, read_manifest(large))


def test_only_the_size_may_differ(job: Job, copy: Path, fails: Fails) -> None:
    before = mtimes(copy)
    assert "(plan.per_class: 3 there, 2 here)" in fails(main, ["synthesize", *job.args(copy, per_class=2)], 1)
    other = ["synthesize", *job.args(copy, "--method", "fix/0", per_class=7)]
    assert "(method: 'nin/chm' there, 'fix/0' here)" in fails(main, other, 1)
    assert mtimes(copy) == before


def test_growing_needs_no_overwrite_and_costs_what_is_missing(
    job: Job, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mtimes(copy)
    job.synthesize(copy, "--dry_run", per_class=7)
    assert re.search(r"images to make\W+13\b", capsys.readouterr().out)
    assert mtimes(copy) == before
    kept = before["train-000000.tar"]
    job.synthesize(copy, "--overwrite", "--batch_size", "auto", per_class=5)
    assert read_manifest(copy)["config"]["plan"]["batch_size"] == 2  # as it was begun
    assert mtimes(copy)["train-000000.tar"] == kept


def test_a_card_that_was_edited_is_kept(job: Job, copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    (copy / "README.md").write_text("mine")
    with caplog.at_level(logging.WARNING):
        job.synthesize(copy, per_class=5)
    assert (copy / "README.md").read_text() == "mine"
    assert "README.md' was edited and is kept; its numbers are those of the smaller dataset" in caplog.text
