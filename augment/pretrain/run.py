"""One training from the first step to the saved model, however often it is interrupted."""

import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint

from augment.errors import UserError
from augment.pretrain.average import DenoiserAverage
from augment.pretrain.base import Pretraining
from augment.pretrain.card import CARD, Reconstruction, write_model_card
from augment.pretrain.data import PretrainData
from augment.pretrain.pictures import TrainingPictures
from augment.runtime.claim import check_same, read_claim
from augment.runtime.files import partial_path, write_json
from augment.runtime.fingerprint import library_versions
from augment.runtime.processes import check_shared
from augment.runtime.trainer import check_trains

log = logging.getLogger(__name__)

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
MANIFEST = "pretrain.json"


def pretrain(
    model: Pretraining,
    data: PretrainData,
    output: Path,
    config: dict[str, Any],
    every: int,
    make_trainer: Callable[[list[L.Callback]], L.Trainer],
    command: str,
) -> list[Reconstruction]:
    """Train, and write `output/model` with its card; a run that was interrupted goes on from its last checkpoint.

    The weights that are saved are the denoiser's exponential moving average. A kill loses at most `every` steps.

    Args:
        model: The model to be trained.
        data: Its images.
        output: Folder of the run: `checkpoints` while it lasts, `progress`, and `model` once it is finished.
        config: Everything that decides the result.
        every: Optimizer steps between checkpoints, and between pictures of progress.
        make_trainer: Builds the trainer around the given callbacks.
        command: The command as the user typed it, for the card.

    Returns:
        What the model card says about the test images; nothing in processes other than the first.

    Raises:
        UserError: If the folder holds something else, or the settings contradict each other.
    """
    folder = output / "model"
    tested = data.source.test  # so that a folder that does not exist is found before the training is spent
    average = DenoiserAverage()
    checkpoint = ModelCheckpoint(
        output / "checkpoints", filename="{step:07d}", auto_insert_metric_name=False, every_n_train_steps=every
    )
    pictures = TrainingPictures(output / "progress", every, average)
    shared = LambdaCallback(setup=lambda trainer, module, stage: check_shared(trainer, output))
    trainer = make_trainer([shared, average, pictures, checkpoint])  # the average before who shows it
    check_settings(model, trainer)
    trained = folder.is_dir()
    if trainer.is_global_zero:
        open_folder(output, config)
    if not trained:
        begun = latest_checkpoint(output / "checkpoints")
        if begun is not None and trainer.is_global_zero:
            log.warning("going on from step %d of %d", int(begun.stem), trainer.max_steps)
        trainer.fit(model, datamodule=data, ckpt_path=begun, weights_only=True)
        average.apply(model)  # a run that resumes at its last step has not come by its end
    if not trainer.is_global_zero:
        return []
    if not trained:
        partial = partial_path(folder)
        model.save(partial)
        partial.rename(folder)
    rows = write_model_card(folder, model, data.source, tested, command)
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    return rows


def is_finished(output: Path, config: dict[str, Any]) -> bool:
    """Whether the folder holds the finished model of this configuration.

    Raises:
        UserError: If it holds something else.
    """
    check_folder(output, config)
    return (output / "model" / CARD).is_file()  # the last thing to be written


def check_folder(output: Path, config: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but a training of this configuration.

    Raises:
        UserError: If it does.
    """
    found = read_claim(output, MANIFEST, "training")
    if found is None:
        return
    begun = found.get("config")
    if not isinstance(begun, dict):
        raise UserError("output", f"'{output / MANIFEST}' cannot be read", "choose another `output`")
    check_same(output, "training", begun, config, "choose another `output` or delete it")


def open_folder(output: Path, config: dict[str, Any]) -> None:
    """Make the folder ready for this training, new or resumed; what an interrupted save left is deleted."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        for partial in output.glob(".*.partial"):
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        if not (output / MANIFEST).is_file():
            write_json(output / MANIFEST, {"config": config, "versions": library_versions()})
    except OSError as error:
        raise UserError(
            "output", f"'{output}' cannot be written ({error.strerror})", "choose another `output`"
        ) from error


def check_settings(model: Pretraining, trainer: L.Trainer) -> None:
    """Refuse a training that cannot end well.

    Raises:
        UserError: If it has no end, ends before the denoiser begins, or has weights of half precision.
    """
    if trainer.max_steps < 1:
        raise UserError(
            "trainer.max_steps",
            "not given",
            "the learning rate falls to 0 over them: try `trainer.max_steps` 10000",
        )
    check_trains(trainer)
    if trainer.max_steps <= model.denoising_from:
        raise UserError(
            "trainer.max_steps",
            f"{trainer.max_steps} steps end before the denoiser begins, at step {model.denoising_from}",
            "raise it, or lower `model.autoencoder_steps`",
        )
    if trainer.precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise UserError("trainer.precision", f"{trainer.precision} would round the averages", f"use {known}")


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step; one that a kill cut short has no table of contents and does not count."""
    whole = [path for path in folder.glob("*.ckpt") if zipfile.is_zipfile(path)]
    return max(whole, key=lambda path: int(path.stem), default=None)
