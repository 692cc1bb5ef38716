import logging
import shutil
from pathlib import Path

import pytest
from PIL import Image

import classify
from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageFolder
from classify.report.findings import Findings
from classify.report.leaks import leaks_section, seen_section
from classify.report.pages import Value
from classify.studies.leaks import keep_leaks, kept_leaks, kept_seen
from classify.studies.results_folder import LastRun, StudyFolder
from classify.train.leaks import find_leaks, find_seen


@pytest.fixture
def leaking(train_folder: Path, test_folder: Path, tmp_path: Path) -> tuple[ImageFolder, str]:
    """A source one of whose test images is a few-shot image, twice its size and of another format."""
    tests = shutil.copytree(test_folder, tmp_path / "test")
    shot = choose_few_shot_set(ImageFolder(train_folder), 3, 0).all[4]
    image = Image.open(train_folder / shot.name)
    image.resize((image.width * 2, image.height * 2)).save(tests / Path(shot.name).parent / "copy.jpg", quality=90)
    return ImageFolder(train_folder, tests), shot.name


def test_a_copy_of_a_few_shot_image_is_named(
    leaking: tuple[ImageFolder, str], caplog: pytest.LogCaptureFixture
) -> None:
    source, name = leaking
    with caplog.at_level(logging.WARNING):
        leaks = find_leaks(source, [choose_few_shot_set(source, 3, seed) for seed in (0, 0)], "warn")
    copy = str(Path(name).parent / "copy.jpg")
    assert [(leak.shot.name, leak.test.name) for leak in leaks] == [(name, copy)]
    assert caplog.messages == [
        f"1 test image is nearly the same as a few-shot image ('{copy}' like '{name}'): "
        "the accuracy on them says little"
    ]


def test_a_copy_may_be_refused(leaking: tuple[ImageFolder, str]) -> None:
    source, name = leaking
    message = rf"near_duplicates: 1 test image is nearly .* like '{name}'\); keep them apart, or pass `near_duplicates`"
    with pytest.raises(UserError, match=message):
        find_leaks(source, [choose_few_shot_set(source, 3, 0)], "refuse")


def test_of_very_many_images_equal_files_alone_are_looked_for(
    leaking: tuple[ImageFolder, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = leaking
    monkeypatch.setattr("classify.train.leaks.MOST", 8)
    with caplog.at_level(logging.WARNING):
        assert find_leaks(source, [choose_few_shot_set(source, 3, 0)], "refuse") == []
    assert caplog.messages == ["9 training images: test images are compared with them by their bytes alone"]


def test_copies_may_be_ignored_but_not_equal_files(leaking: tuple[ImageFolder, str], train_folder: Path) -> None:
    source, name = leaking
    few_shot = [choose_few_shot_set(source, 3, 0)]
    assert find_leaks(source, few_shot, "ignore") == []
    assert source.test_path is not None
    shutil.copy(train_folder / name, source.test_path / Path(name).parent / "equal.png")
    for about in ("warn", "ignore"):
        with pytest.raises(UserError, match=f"equal.png': is also the few-shot image '{name}'"):
            find_leaks(ImageFolder(train_folder, source.test_path), few_shot, about)  # type: ignore[arg-type]


def test_nothing_is_said_where_nothing_is_found(
    train_folder: Path, test_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = ImageFolder(train_folder, test_folder)
    assert find_leaks(source, [choose_few_shot_set(source, None, 0)], "refuse") == []
    assert caplog.messages == []


def test_a_fit_refuses_before_it_trains(leaking: tuple[ImageFolder, str], tmp_path: Path) -> None:
    small = classify.Batches(batch_size=4, image_size=16)
    with pytest.raises(UserError, match="near_duplicates: 1 test image is nearly the same as a few-shot image"):
        classify.fit(
            tmp_path / "out",
            leaking[0],
            "test_resnet",
            shots=3,
            steps=1,
            batches=small,
            near_duplicates="refuse",
            logger="none",
        )
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_fit_writes_down_what_it_warned_of(leaking: tuple[ImageFolder, str], tmp_path: Path) -> None:
    source, name = leaking
    small = classify.Batches(batch_size=4, image_size=16)
    output = tmp_path / "out"
    found = classify.fit(
        output, source, "test_resnet", shots=3, steps=1, batches=small, logger="none", show_progress=False
    )
    copy = str(Path(name).parent / "copy.jpg")
    assert found.metrics["near_duplicates"] == [{"test": copy, "few_shot": name}]


def test_a_studys_report_names_and_shows_them(leaking: tuple[ImageFolder, str], tmp_path: Path) -> None:
    source, name = leaking
    folder = StudyFolder(tmp_path)
    findings = Findings(folder, LastRun("classify study", None, (), 0, 3), {}, [], None)
    assert list(leaks_section(findings)) == []
    keep_leaks(folder, source, find_leaks(source, [choose_few_shot_set(source, 3, 0)], "warn"))
    copy = str(Path(name).parent / "copy.jpg")
    assert kept_leaks(folder) == [(copy, name)]
    (section,) = leaks_section(findings)
    (_, table), (picture,) = section.tables[0], section.pictures
    assert table.rows == ((Value(copy, copy), Value(name, name)),)
    assert Image.open(folder.path / picture.file).height == 2 * 64 + 2
    keep_leaks(folder, source, [])
    assert list(leaks_section(findings)) == []


# What the backbone was trained on.


def trained_on(folder: Path) -> frozenset[str]:
    source = ImageFolder(folder)
    return frozenset(source.sha256(item) for item in source.pool)


def test_equal_files_and_copies_that_the_backbone_saw(
    leaking: tuple[ImageFolder, str], train_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, name = leaking
    assert source.test_path is not None
    equal = Path(name).parent / "equal.png"
    shutil.copy(train_folder / name, source.test_path / equal)
    source = ImageFolder(train_folder, source.test_path)
    seen = find_seen(source, trained_on(train_folder), "warn")
    copy = str(Path(name).parent / "copy.jpg")
    assert [(one.test.name, one.trained and one.trained.name) for one in seen] == [(copy, name), (str(equal), name)]
    assert "2 test images are among the images that the backbone was trained on" in caplog.text
    with pytest.raises(UserError, match=r"near_duplicates: 2 test images are among .*; keep them apart, or pass"):
        find_seen(source, trained_on(train_folder), "refuse")
    assert find_seen(source, trained_on(train_folder), "ignore") == find_seen(source, None, "refuse") == []


def test_of_a_large_training_the_bytes_alone_are_compared(
    leaking: tuple[ImageFolder, str], train_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, name = leaking
    monkeypatch.setattr("classify.train.leaks.MOST", 2)
    assert source.test_path is not None
    shutil.copy(train_folder / name, source.test_path / Path(name).parent / "equal.png")
    seen = find_seen(ImageFolder(train_folder, source.test_path), trained_on(train_folder), "warn")
    assert [(Path(one.test.name).name, one.trained) for one in seen] == [("equal.png", None)]


def test_the_report_names_and_shows_what_the_backbone_saw(
    leaking: tuple[ImageFolder, str], train_folder: Path, tmp_path: Path
) -> None:
    source, name = leaking
    folder = StudyFolder(tmp_path)
    keep_leaks(folder, source, [], find_seen(source, trained_on(train_folder), "warn"))
    copy = str(Path(name).parent / "copy.jpg")
    assert kept_seen(folder) == [(copy, name)] and kept_leaks(folder) == []
    findings = Findings(folder, LastRun("classify study", None, (), 0, 3), {}, [], None)
    (section,) = seen_section(findings)
    assert section.tables[0][1].rows == ((Value(copy, copy), Value(name, name)),)
    assert Image.open(folder.path / section.pictures[0].file).size == (64, 64)
    keep_leaks(folder, source, [])
    assert list(seen_section(findings)) == []
