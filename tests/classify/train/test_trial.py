import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from augment.errors import UserError
from augment.images.sources import ImageFolder
from augment.runtime.trainer import QUIET_TRAINER
from classify.train.batches import Batches
from classify.train.classifier import Classifier
from classify.train.data import ClassificationData
from classify.train.sealed_source import Sealed
from classify.train.trial import check_test_images, fit_and_test

Fails = Callable[..., str]


def data(train: Path, test: Path | None) -> ClassificationData:
    return ClassificationData(ImageFolder(train, test), 3, 0, batches=Batches(image_size=16, batch_size=6))


@pytest.fixture
def test_copy(test_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(test_folder, tmp_path / "test"))


def test_a_few_shot_image_among_the_test_images_is_refused(train_folder: Path, test_copy: Path) -> None:
    splits = data(train_folder, test_copy)
    leaked = splits.few_shot.all[4]
    file = test_copy / Path(leaked.name).parent / f"leak{Path(leaked.name).suffix}"
    shutil.copy(train_folder / leaked.name, file)
    with pytest.raises(UserError, match=rf"leak.*: is also the few-shot image '{leaked.name}'"):
        check_test_images(splits.source, [data(train_folder, test_copy).few_shot, splits.few_shot])


@pytest.mark.parametrize("damage", ["broken image", "no test folder"])
def test_what_is_wrong_with_the_test_images_is_found(train_folder: Path, test_copy: Path, damage: str) -> None:
    if damage == "broken image":
        next(p for p in sorted(test_copy.rglob("*")) if p.is_file()).write_bytes(b"no image")
        match = "test image .* cannot be read .*; no test image is ever passed over: replace it"
    else:
        match = "source.test_path: not given"
    splits = data(train_folder, None if damage == "no test folder" else test_copy)
    with pytest.raises(UserError, match=match):
        check_test_images(splits.source, [splits.few_shot])


def test_the_verdict_on_the_test_images_is_all_that_comes_out(train_folder: Path, test_folder: Path) -> None:
    splits = data(train_folder, test_folder)
    assert check_test_images(splits.source, [splits.few_shot]) is None  # type: ignore[func-returns-value]


def test_training_cannot_reach_the_test_images(train_folder: Path, test_folder: Path) -> None:
    """A model that looks for them while it is trained finds them sealed; in its test it finds them."""
    splits = data(train_folder, test_folder)
    leftover = splits.source
    tested: list[int] = []

    class Curious(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            source, (item, *_) = splits.source, leftover.test
            for reach in (lambda: source.test, lambda: source.image(item), lambda: source.content(item)):
                with pytest.raises(RuntimeError, match="the test images are sealed until the final test"):
                    reach()
            assert len(source.pool) == 15
            return super().training_step(batch, batch_idx)

        def test_step(self, batch: Any, batch_idx: int) -> None:
            tested.append(len(splits.source.test))
            super().test_step(batch, batch_idx)

    trainer = L.Trainer(
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    fit_and_test(Curious(3, "test_resnet"), splits, trainer)
    assert trainer.global_step == 2
    assert set(tested) == {9}
    assert splits.source is leftover


def test_a_training_that_fails_leaves_the_data_as_they_were(train_folder: Path, test_folder: Path) -> None:
    splits = data(train_folder, test_folder)
    before = splits.source

    class Broken(Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ZeroDivisionError

    trainer = L.Trainer(max_steps=2, **QUIET_TRAINER)
    with pytest.raises(ZeroDivisionError):
        fit_and_test(Broken(3, "test_resnet"), splits, trainer)
    assert splits.source is before
    assert len(splits.source.test) == 9


def test_a_sealed_source_is_closed_again_after_a_failure(train_folder: Path, test_folder: Path) -> None:
    sealed = Sealed(ImageFolder(train_folder, test_folder))
    with pytest.raises(ZeroDivisionError), sealed.opened():
        assert len(sealed.test) == 9
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="sealed"):
        _ = sealed.test


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
