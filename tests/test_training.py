import shutil
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest

from augment.data import ImageFolder
from augment.errors import UserError
from classify.classifier import Classifier
from classify.data import Batches, ClassificationData
from classify.training import check_test_images, fit_and_test

Fails = Callable[..., str]


def data(train: Path, test: Path | None) -> ClassificationData:
    return ClassificationData(ImageFolder(train, test), 3, 0, batches=Batches(image_size=16, batch_size=6))


@pytest.fixture
def test_copy(test_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(test_folder, tmp_path / "test"))


def test_a_few_shot_image_among_the_test_images_is_refused(train_folder: Path, test_copy: Path) -> None:
    leaked = data(train_folder, test_copy).few_shot.all[4]
    file = test_copy / Path(leaked.name).parent / f"leak{Path(leaked.name).suffix}"
    shutil.copy(train_folder / leaked.name, file)
    with pytest.raises(UserError, match=rf"leak.*is also the few-shot image '{leaked.name}'"):
        check_test_images(data(train_folder, test_copy))


@pytest.mark.parametrize("damage", ["broken image", "no test folder"])
def test_what_is_wrong_with_the_test_images_is_found_before_training(
    train_folder: Path, test_copy: Path, damage: str
) -> None:
    if damage == "broken image":
        next(p for p in sorted(test_copy.rglob("*")) if p.is_file()).write_bytes(b"no image")
        match = "cannot be read"
    else:
        match = "source.test_path: not given"
    splits = data(train_folder, None if damage == "no test folder" else test_copy)
    model = Classifier(3, "test_resnet")
    trainer = L.Trainer(max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(UserError, match=match):
        fit_and_test(model, splits, trainer)
    assert trainer.global_step == 0


def test_random_weights_are_fed_what_they_are_saved_with() -> None:
    assert Classifier(3, "test_resnet").normalisation() == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_pretrained_weights_are_fed_what_they_were_trained_with(extractor_folder: Path) -> None:
    import timm

    model = Classifier(3, f"local-dir:{extractor_folder}", pretrained=True)
    config = timm.create_model(f"local-dir:{extractor_folder}", pretrained=True).pretrained_cfg
    assert model.normalisation() == (tuple(config["mean"]), tuple(config["std"]))


def test_a_batch_that_processes_cannot_share_is_refused(train_folder: Path) -> None:
    class Place:
        global_rank, world_size = 0, 4

    splits = data(train_folder, None)
    splits.trainer = Place()  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"batches.batch_size: 6 images cannot be shared by 4 processes"):
        splits.train_dataloader()
