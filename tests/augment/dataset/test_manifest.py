from pathlib import Path
from typing import Any

import pytest

from augment.dataset.folder import check_folder, open_folder
from augment.dataset.manifest import describe_dataset, read_manifest
from augment.errors import UserError
from augment.runtime.fingerprint import fingerprint, first_difference


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
