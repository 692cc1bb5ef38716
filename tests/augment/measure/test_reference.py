from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COLOURS, SIDE, make_images

from augment.dataset.reader import read_images
from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageFolder
from augment.measure.features import image_features, source_features
from augment.measure.metrics import measure
from augment.measure.reference import make_reference


@pytest.fixture(scope="module")
def extractor(extractor_folder: Path) -> str:
    return f"local-dir:{extractor_folder}"


def test_the_reference_is_the_pool_or_the_classes_that_were_made(train_folder: Path, extractor: str) -> None:
    source = ImageFolder(train_folder)
    everything = make_reference(extractor, None, source, SIDE)
    one = make_reference(extractor, None, source, SIDE, classes={source.classes[0]})
    assert everything.name == "fd_tinynet"
    assert everything.real.classes == tuple(source.classes[item.label] for item in source.pool)
    assert set(one.real.classes) == {source.classes[0]}
    torch.testing.assert_close(one.real.values, everything.real.by_class()[source.classes[0]])


def test_a_class_that_the_reference_lacks_is_found_before_anything_is_measured(
    train_folder: Path, extractor: str
) -> None:
    with pytest.raises(UserError, match=r"^reference: no real image of class 'violet', which the synthetic set has; "):
        make_reference(extractor, None, ImageFolder(train_folder), SIDE, classes={"rød", "violet"})


def test_a_dataset_is_measured_as_its_images_are(dataset: Path, train_folder: Path, extractor: str) -> None:
    source = ImageFolder(train_folder)
    few_shot = choose_few_shot_set(source, 3, 0)
    reference = make_reference(extractor, None, source, SIDE)
    found = reference.measure(dataset, source, few_shot)
    made = [(image, source.classes[label]) for image, label in read_images(dataset)]
    assert len(made) == 12
    shots = source_features(reference.extractor, source, few_shot.all)
    assert found == measure(reference.real, image_features(reference.extractor, made), shots)
    assert next(iter(found.values)) == reference.name
    assert {"nearest_tinynet", "nearest_real_tinynet"} <= found.values.keys()
    assert all(np.isfinite(value) for value in found.values.values())


def test_classes_are_matched_by_name_not_by_number(
    dataset: Path, train_folder: Path, extractor: str, tmp_path: Path
) -> None:
    """A reference folder may have more classes, so that the same class has another number there."""
    source = ImageFolder(train_folder)
    few_shot = choose_few_shot_set(source, 3, 0)
    expected = make_reference(extractor, None, source, SIDE).measure(dataset, source, few_shot)
    more = make_images(tmp_path / "more", 5, 0)
    make_images(tmp_path / "more", 2, 900, {"aaa": (0, 0, 0)})
    reference = make_reference(extractor, None, ImageFolder(more), SIDE, classes=COLOURS.keys())
    assert reference.measure(dataset, source, few_shot).values == pytest.approx(expected.values, rel=1e-5, abs=1e-9)
