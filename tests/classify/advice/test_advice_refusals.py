"""What no advice can be given for is said in one line, with what to do."""

from pathlib import Path

import pytest
from conftest import make_images, paint
from PIL import Image
from small_advice import advisor

import classify
from augment.errors import UserError
from augment.images.sources import ImageFolder
from classify.advice.run import folds_of, search_and_confirm

ONE = {"red": (200, 20, 20)}
TWO = ONE | {"blue": (20, 20, 200)}


def test_one_class_leaves_nothing_to_classify(model_folder: Path, tmp_path: Path) -> None:
    images = make_images(tmp_path / "train", 3, 0, ONE)
    with pytest.raises(UserError, match="source: images of one class leave nothing to classify; add images of another"):
        search_and_confirm(advisor(tmp_path / "out", model_folder, images))


def test_one_image_of_a_class_cannot_be_held_out(model_folder: Path, tmp_path: Path) -> None:
    images = make_images(tmp_path / "train", 3, 0, TWO)
    for extra in sorted((images / "red").iterdir())[1:]:
        extra.unlink()
    message = "class 'red' has 1 image: none can be held out, so cross-validation is impossible; .*--policy rand-m9"
    with pytest.raises(UserError, match=message):
        search_and_confirm(advisor(tmp_path / "out", model_folder, images, shots=None))
    assert not (tmp_path / "out").exists()


def test_one_shot_cannot_be_held_out(model_folder: Path, train_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shots: 1 image per class: none can be held out"):
        search_and_confirm(advisor(tmp_path / "out", model_folder, train_folder, shots=1))


def test_a_budget_too_small_names_the_time_that_one_candidate_needs(
    model_folder: Path, train_folder: Path, tmp_path: Path
) -> None:
    message = r"hours: 1e-06 are too few: a candidate takes about [\d.]+ minutes \(3 folds of \d+ seconds\); give"
    with pytest.raises(UserError, match=message):
        search_and_confirm(advisor(tmp_path / "out", model_folder, train_folder, hours=1e-6))


def test_copies_of_one_image_are_no_two_images(model_folder: Path, tmp_path: Path) -> None:
    images = make_images(tmp_path / "train", 3, 0, TWO)
    first = sorted((images / "red").iterdir())[0]
    with Image.open(first) as image:
        for n, other in enumerate(sorted((images / "red").iterdir())[1:], 2):
            image.resize((24 * n, 20 * n), Image.Resampling.BICUBIC).save(other)
    with pytest.raises(UserError, match="the images of class 'red' are nearly the same: none can be held out alone"):
        folds_of(advisor(tmp_path / "out", model_folder, images))


def test_a_test_image_in_the_pool_stands_with_its_copy(model_folder: Path, tmp_path: Path) -> None:
    images = make_images(tmp_path / "train", 4, 0, TWO)
    with Image.open(images / "red" / "00.png") as image:
        image.resize((48, 40), Image.Resampling.BICUBIC).save(images / "red" / "03.png")
    searched, fresh, named = folds_of(advisor(tmp_path / "out", model_folder, images, shots=4))
    assert named == [["red/00.png", "red/03.png"]]
    for fold in (*searched, *fresh):
        assert len({"red/00.png", "red/03.png"} & {shot.name for shot in fold.held}) in (0, 2)


def test_test_images_are_never_touched(model_folder: Path, train_folder: Path, tmp_path: Path) -> None:
    """The folder of test images is not there: whoever asked for one would be told so."""
    source = ImageFolder(train_folder, tmp_path / "nowhere")
    settings = advisor(tmp_path / "out", model_folder, train_folder, source=source)
    assert len(folds_of(settings)[0]) == 3
    with pytest.raises(RuntimeError, match="sealed"):
        _ = settings.images.test


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": classify.Space(methods=["fix/chn"])}, "space.methods: there is no 'fix/chn'; choose from"),
        ({"space": classify.Space(per_class=[])}, "space.per_class: an empty list leaves nothing to choose"),
        ({"folds": 1}, "folds: 1 fold would hold out all images; give 2 or more"),
        ({"shots": 6}, "shots: class 'blue sky' has 5 images, fewer than 6"),
    ],
)
def test_settings_that_cannot_work(
    model_folder: Path, train_folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        search_and_confirm(advisor(tmp_path / "out", model_folder, train_folder, **changes))


def test_another_search_is_not_written_over(finished: Path, model_folder: Path, train_folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds a search for advice of another configuration \(steps: 3 there, 4 here\)"
    ):
        search_and_confirm(advisor(finished, model_folder, train_folder, steps=4))


def test_the_output_must_not_lie_among_the_images(model_folder: Path, tmp_path: Path) -> None:
    paint(tmp_path / "train" / "a" / "0.png", (1, 2, 3), 0)
    with pytest.raises(UserError, match="where the real images are read from"):
        search_and_confirm(advisor(tmp_path / "train" / "out", model_folder, tmp_path / "train"))
