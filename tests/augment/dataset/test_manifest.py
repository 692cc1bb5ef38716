import json
import os
import platform
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from augment.dataset.folder import check_folder, open_folder
from augment.dataset.manifest import (
    check_manifest,
    close_folder,
    describe_dataset,
    read_finished,
    read_manifest,
    read_run,
    write_run,
)
from augment.dataset.shard_writer import Sample
from augment.errors import UserError
from augment.runtime.fingerprint import fingerprint, first_difference, library_versions


def manifest(**changes: Any) -> dict[str, Any]:
    config = {"classes": ["a"], "few_shot": [], "method": "nin/chm", "mixing": {"sources": 3}}
    return describe_dataset(config | changes)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ("b", 2, 3)),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ("a.b.c", 1, 2)),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ("a[1].b", 2, 3)),
        ({"a": [1]}, {"a": [1, 2]}, ("a", [1], [1, 2])),
        ({"a": 1}, {}, ("a", 1, None)),
        ({"z": 1, "b": 1}, {"z": 2, "b": 2}, ("b", 1, 2)),
    ],
)
def test_first_difference(old: Any, new: Any, expected: tuple[str, Any, Any]) -> None:
    assert first_difference(old, new) == expected


def test_fingerprint_is_the_content_not_the_order() -> None:
    assert fingerprint({"a": 1, "b": [2, 3]}) == fingerprint({"b": [2, 3], "a": 1})
    assert fingerprint({"a": 1, "b": [2, 3]}) != fingerprint({"a": 1, "b": [3, 2]})


def test_a_new_folder_is_made_and_described(tmp_path: Path) -> None:
    open_folder(tmp_path / "deep" / "set", manifest(), overwrite=False)
    assert read_manifest(tmp_path / "deep" / "set") == manifest()
    open_folder(tmp_path / "deep" / "set", manifest(), overwrite=False)
    assert read_manifest(tmp_path / "deep" / "set") == manifest()


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    open_folder(tmp_path, manifest(), overwrite=False)
    assert read_manifest(tmp_path) == manifest()


def test_another_configuration_is_refused_until_it_may_be_deleted(tmp_path: Path) -> None:
    open_folder(tmp_path / "set", manifest(), overwrite=False)
    (tmp_path / "set" / "train-000000.tar").write_bytes(b"shard")
    other = manifest(mixing={"sources": 2})
    with pytest.raises(UserError, match=r"\(mixing\.sources: 3 there, 2 here\); choose another `output`, or pass"):
        check_folder(tmp_path / "set", other, overwrite=False)
    assert (tmp_path / "set" / "train-000000.tar").exists()
    check_folder(tmp_path / "set", other, overwrite=True)
    assert (tmp_path / "set" / "train-000000.tar").exists()
    open_folder(tmp_path / "set", other, overwrite=True)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["dataset.json"]
    assert read_manifest(tmp_path / "set") == other


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_never_opened(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and holds no dataset; choose another `output`"):
        check_folder(tmp_path, manifest(), overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("content", ["[]", "{}", '{"fingerprint": 1}', "null", "no JSON"])
def test_a_dataset_json_of_another_program_is_one_line(tmp_path: Path, content: str, overwrite: bool) -> None:
    """Other programs write a file of this name too; what lies beside it is not ours to delete."""
    (tmp_path / "dataset.json").write_text(content)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match=r"dataset\.json"):
        open_folder(tmp_path, manifest(), overwrite)
    assert (tmp_path / "dataset.json").read_text() == content
    assert (tmp_path / "thesis.txt").read_text() == "precious"


# What a description says.


def test_a_description_says_all_but_the_shards() -> None:
    config = {"classes": ["a", "b"], "few_shot": [{"name": "x", "sha256": "0", "label": 1}], "interval": (0.0, 1.0)}
    as_read = config | {"interval": [0.0, 1.0]}
    assert describe_dataset(config) == {
        "format": 1,
        "fingerprint": fingerprint(as_read),
        "config": as_read,
        "classes": ["a", "b"],
        "few_shot": [{"name": "x", "sha256": "0", "label": 1}],
        "versions": library_versions(),
        "shards": {},
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_folder_without_a_description(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_manifest(tmp_path)
    assert str(error.value) == (
        f"dataset: no '{tmp_path / 'dataset.json'}'; '{tmp_path}' is not a dataset folder made by `augment synthesize`"
    )


def test_a_description_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(UserError) as error:
        read_manifest(tmp_path)
    assert str(error.value) == (
        f"dataset: '{tmp_path / 'dataset.json'}' holds no JSON object but list; restore it or start in a new folder"
    )


def test_an_unfinished_dataset_is_named_as_it_was_given(tmp_path: Path) -> None:
    write(tmp_path, manifest())
    for arguments, name in (((), "dataset"), (("synthetic",), "synthetic")):
        with pytest.raises(UserError) as error:
            read_finished(tmp_path, *arguments)
        expected = f"{name}: '{tmp_path}' is not finished; run `augment synthesize` on it again"
        assert str(error.value) == expected
    finished = manifest() | {"shards": {"train-000000.tar": {"sha256": "0", "samples": 1}}}
    write(tmp_path, finished)
    assert read_finished(tmp_path) == finished


KEYS = ["fingerprint", "config", "classes", "few_shot", "versions", "shards"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["absent", None, 3])
def test_a_description_needs_every_part(key: str, value: Any) -> None:
    content = {name: part for name, part in manifest().items() if name != key or value != "absent"}
    if value != "absent":
        content[key] = value
    with pytest.raises(UserError) as error:
        check_manifest(Path("x/dataset.json"), content)
    assert str(error.value) == (
        f"dataset: 'x/dataset.json' was not written by `augment synthesize` ({key} is missing); choose another folder"
    )


SHOT = {"name": "x", "sha256": "0", "label": 0}
NO_SHOT = "has a few-shot image without name, hash or label; choose another folder"
FACTS = {"sha256": "0", "samples": 1}


@pytest.mark.parametrize(
    "shot",
    [
        *({name: part for name, part in SHOT.items() if name != key} for key in SHOT),
        *(SHOT | {"label": label} for label in (-1, 1, 0.0, "0", None)),
        *(SHOT | {key: 3} for key in ("name", "sha256")),
        *([], None, "name", 3),
    ],
)
def test_a_few_shot_image_needs_name_hash_and_label(shot: Any) -> None:
    path, content = Path("x/dataset.json"), manifest()
    check_manifest(path, content | {"few_shot": [SHOT]})
    for shots in ([shot], [SHOT, shot]):
        with pytest.raises(UserError) as error:
            check_manifest(path, content | {"few_shot": shots})
        assert str(error.value) == f"dataset: 'x/dataset.json' {NO_SHOT}"


def test_labels_reach_to_the_last_class() -> None:
    content = manifest(classes=["a", "b", "c"])
    check_manifest(Path("x"), content | {"few_shot": [SHOT | {"label": label} for label in (0, 1, 2)]})
    with pytest.raises(UserError, match=NO_SHOT):
        check_manifest(Path("x"), content | {"few_shot": [SHOT | {"label": 3}]})


@pytest.mark.parametrize("classes", [[1], ["a", None], [["a"]]])
def test_class_names_are_texts(classes: list[Any]) -> None:
    with pytest.raises(UserError, match=r"^dataset: 'x' has a class whose name is no text; choose another folder$"):
        check_manifest(Path("x"), manifest() | {"classes": classes})


@pytest.mark.parametrize("facts", [None, [], {}, "0", {"sha256": "0"}, {"samples": 1}, FACTS | {"samples": "1"}])
@pytest.mark.parametrize("first", [True, False])
def test_a_shard_needs_hash_and_size(facts: Any, first: bool) -> None:
    shards = {"train-000001.tar": facts} if first else {"train-000000.tar": FACTS, "train-000001.tar": facts}
    match = r"^dataset: 'x' says neither hash nor size of train-000001\.tar; choose another folder$"
    with pytest.raises(UserError, match=match):
        check_manifest(Path("x"), manifest() | {"shards": shards})
    with pytest.raises(UserError, match=match):
        check_manifest(Path("x"), manifest() | {"shards": {"train-000001.tar": FACTS | {"sha256": 3}}})


@pytest.mark.parametrize("name", ["train-000000.tar.gz", "xtrain-000000.tar", "train-00000.tar", "train-000000_tar"])
def test_shards_are_called_as_shards_are(name: str) -> None:
    check_manifest(Path("x"), manifest() | {"shards": {"train-000000.tar": FACTS}})
    with pytest.raises(UserError) as error:
        check_manifest(Path("x"), manifest() | {"shards": {name: FACTS}})
    assert str(error.value) == (
        f"dataset: 'x' names a shard '{name}'; shards are train-000000.tar and so on; choose another folder"
    )


# What a finished folder says.


def test_closing_describes_the_shards_by_what_was_noted(tmp_path: Path) -> None:
    """A hash noted at the commit counts more than one of an earlier description, which counts where none is noted."""
    old = {f"train-00000{n}.tar": {"sha256": f"old {n}", "samples": 9} for n in (0, 1, 5)}
    write(tmp_path, manifest() | {"shards": old})
    for number in (0, 2):
        (tmp_path / f".train-00000{number}.tar.sha256").write_text(f"new {number}\n")
    shards = [[Sample(0, 0), Sample(0, 1)], [Sample(0, 2)], [Sample(0, 3), Sample(0, 4), Sample(0, 5)]]
    close_folder(tmp_path, shards)
    names = ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    facts = zip(names, ("new 0", "old 1", "new 2"), (2, 1, 3), strict=True)
    assert read_manifest(tmp_path) == manifest() | {
        "shards": {name: {"sha256": sha256, "samples": samples} for name, sha256, samples in facts}
    }
    assert json.loads((tmp_path / "_info.json").read_text(encoding="utf-8")) == {
        "splits": {"train": {"name": "train", "num_samples": 6, "filenames": names, "shard_lengths": [2, 1, 3]}}
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_info.json", "dataset.json"]


SOURCE = {"class": "augment.images.sources.Digits"}


def test_a_run_is_described(tmp_path: Path) -> None:
    seconds = {"invert": 1.23456, "synthesize": 7.0004}
    write_run(tmp_path, "cpu", 2, 12, seconds, {"decode": 4}, {"denoise": 0.98765}, SOURCE)
    assert read_run(tmp_path) == {
        "runs": 1,
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "devices": "cpu",
        "processes": 2,
        "threads_per_process": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": library_versions(),
        "seconds": {"invert": 1.235, "synthesize": 7.0},
        "profile": {"denoise": 0.988},
        "images": 12,
        "images_per_second": 1.714,
        "batch_size_that_fitted": {"decode": 4},
        "source": SOURCE,
    }


def test_runs_add_up(tmp_path: Path) -> None:
    """Images, seconds and what memory allowed of all of them; the rest of the last one."""
    write_run(tmp_path, "cpu", 2, 12, {"synthesize": 8.0}, {"decode": 4, "encode": 2}, {"denoise": 1.0}, None)
    write_run(tmp_path, "cuda", 1, 3, {"invert": 0.5, "synthesize": 2.0}, {"decode": 3}, None, SOURCE)
    found = read_run(tmp_path)
    assert (found["runs"], found["images"], found["seconds"]) == (2, 15, {"invert": 0.5, "synthesize": 10.0})
    assert (found["images_per_second"], found["batch_size_that_fitted"]) == (1.5, {"decode": 3, "encode": 2})
    assert [found[key] for key in ("devices", "processes", "profile", "source")] == ["cuda", 1, None, SOURCE]


def test_a_run_that_made_nothing_has_no_rate(tmp_path: Path) -> None:
    for _ in range(2):
        write_run(tmp_path, "cpu", 1, 0, {"synthesize": 0.0}, {}, None, None)
        found = read_run(tmp_path)
        assert [found[key] for key in ("images_per_second", "profile", "batch_size_that_fitted")] == [None, None, None]
        assert found["images"] == 0


def test_before_the_first_run_there_is_none(tmp_path: Path) -> None:
    assert read_run(tmp_path) == {}
    (tmp_path / "run.json").write_text("3")
    with pytest.raises(UserError) as error:
        read_run(tmp_path)
    assert str(error.value) == f"dataset: '{tmp_path / 'run.json'}' holds no JSON object but int; delete it"
