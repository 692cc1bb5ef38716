"""A folder that a library writes is whole or not there."""

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from augment.errors import UserError
from augment.runtime.files import whole_folder

FULL = [
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", FULL, ids=["safetensors", "OSError"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, error: Exception) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("old")
    match = (
        r"^output: '.*model' could not be written \(.*No space left on device.*\); finished work is kept: run the same"
    )
    with pytest.raises(UserError, match=match), whole_folder(folder) as partial:
        partial.mkdir()
        (partial / "weights").write_text("half")
        raise error
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["model", "model/weights"]
    assert (folder / "weights").read_text() == "old"


def test_a_new_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    stale = tmp_path / ".model.host.7.partial"
    stale.mkdir()
    for content in ("old", "new"):
        with whole_folder(tmp_path / "model") as partial:
            (partial / "net").mkdir(parents=True)
            (partial / "net" / content).write_text(content)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "model",
        "model/net",
        "model/net/new",
    ]
