"""What `--overwrite` deletes: files of a dataset, by name, and nothing else, whatever a description says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Job, mtimes, sha256s

from augment.cli import main
from augment.dataset.manifest import read_manifest
from augment.dataset.shard_writer import committed_sha256, note_path
from augment.dataset.verify import unfinished, verify
from augment.errors import UserError

Fails = Callable[..., str]


def foreign_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("mine")
    return folder / "notes.txt"


def foreign_folder(folder: Path) -> Path:
    (folder / "sub").mkdir()
    (folder / "sub" / "photo.png").write_bytes(b"mine")
    return folder / "sub"


def another_dataset(folder: Path) -> Path:
    return Path(shutil.copytree(folder, folder.parent / "other").rename(folder / "other"))


def bank(folder: Path) -> Path:
    (folder / "bank").mkdir()
    (folder / "bank" / "latent.safetensors").write_bytes(b"hours of work")
    return folder / "bank"


@pytest.mark.parametrize("put", [foreign_file, foreign_folder, another_dataset, bank])
def test_overwriting_refuses_what_is_foreign(
    put: Callable[[Path], Path], job: Job, dataset: Path, tmp_path: Path, fails: Fails
) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    foreign = put(folder)
    before = mtimes(folder)
    error = fails(main, ["synthesize", *job.args(folder, "--seed", "3", "--overwrite")], 1)
    assert f"holds '{foreign.name}', which no dataset has; nothing was deleted; move that away" in error
    assert mtimes(folder) == before


def test_the_page_goes_with_its_dataset(
    job: Job, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "a set"))
    (folder / "browse.html").write_text("of the old one")
    old = (folder / "preview.png").read_bytes()
    job.synthesize(folder, "--seed", "3", "--overwrite")
    assert not (folder / "browse.html").exists()
    assert (folder / "preview.png").read_bytes() != old
    said = capsys.readouterr().out.splitlines()[-3:]
    assert said == [
        f"dataset: {folder}",
        f"preview: {folder / 'preview.png'}",
        f"look at it: augment browse '{folder}'",
    ]


def test_a_forged_description_is_no_licence(job: Job, dataset: Path, tmp_path: Path, fails: Fails) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    foreign_file(folder)
    shutil.copy(dataset / "dataset.json", folder)
    error = fails(main, ["synthesize", *job.args(folder, "--seed", "3", "--overwrite")], 1)
    assert "'notes.txt', which no dataset has" in error
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../train-000000.tar", "/etc/passwd", "train-0.tar", "sub/train-000000.tar"])
def test_a_description_names_files_of_its_own_folder_only(name: str, dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    manifest = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    manifest["shards"][name] = manifest["shards"].pop("train-000000.tar")
    (folder / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match="names a shard"):
        read_manifest(folder)


def test_overwriting_deletes_a_dataset(job: Job, dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    job.synthesize(folder, "--seed", "3", "--overwrite", per_class=2)
    assert verify(folder) == 6
    assert read_manifest(folder)["config"]["seed"] == 3
    assert len(sha256s(folder)) == 2


def test_dots_in_a_path_lead_to_the_same_folder(job: Job, dataset: Path, tmp_path: Path, fails: Fails) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    before = mtimes(folder)
    error = fails(main, ["synthesize", *job.args(folder / "new" / "..", "--seed", "3")], 1)
    assert "holds a dataset of another configuration" in error and "--overwrite" in error
    assert mtimes(folder) == before


def test_a_link_leads_to_its_folder(job: Job, dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    link = tmp_path / "link"
    link.symlink_to(folder)
    job.synthesize(link, "--seed", "3", "--overwrite")
    assert link.is_symlink() and read_manifest(folder)["config"]["seed"] == 3
    assert verify(folder) == 12


def test_an_empty_working_directory_may_be_the_output(
    job: Job, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    job.synthesize(Path())
    assert sha256s(tmp_path / "here") == sha256s(dataset)
    assert (tmp_path / "bank").is_dir()


# The hash of a shard is noted when it is committed.


def test_a_shard_altered_before_the_end_is_made_anew(job: Job, dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    unfinish(folder)
    content = bytearray((folder / "train-000001.tar").read_bytes())
    content[700] ^= 1
    (folder / "train-000001.tar").write_bytes(content)
    job.synthesize(folder)
    assert sha256s(folder) == sha256s(dataset)
    assert not list(folder.glob(".*"))


def test_a_shard_without_a_note_is_made_anew(job: Job, dataset: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    unfinish(folder)
    note_path(folder / "train-000002.tar").unlink()
    kept = (folder / "train-000000.tar").stat().st_mtime_ns
    job.synthesize(folder)
    assert sha256s(folder) == sha256s(dataset)
    assert (folder / "train-000000.tar").stat().st_mtime_ns == kept


def unfinish(folder: Path) -> None:
    """The folder as a kill would leave it after the last shard, before the dataset was described."""
    manifest = read_manifest(folder)
    for name, facts in manifest["shards"].items():
        note_path(folder / name).write_text(facts["sha256"])
        assert committed_sha256(folder / name) == facts["sha256"]
    (folder / "dataset.json").write_text(json.dumps(manifest | {"shards": {}}), encoding="utf-8")
    assert unfinished(folder, []) == []
