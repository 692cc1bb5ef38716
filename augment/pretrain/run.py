"""One training from the first step to the saved model, however often it is interrupted."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LambdaCallback

from augment.errors import UserError
from augment.pretrain.average import DenoiserAverage
from augment.pretrain.base import Pretraining
from augment.pretrain.card import CARD, Reconstruction, write_model_card
from augment.pretrain.data import PretrainData
from augment.pretrain.preset import write_preset
from augment.runtime.claim import check_outside, check_same, read_claim
from augment.runtime.files import whole_folder, write_json
from augment.runtime.fingerprint import library_versions
from augment.runtime.processes import check_shared
from augment.runtime.trained_on import write_trained_on
from augment.runtime.trainer import check_trains
from augment.training.checkpoints import checkpointing, go_on, keep_last, latest_checkpoint
from augment.training.pictures import TrainingPictures

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
    minutes: float | None = None,
) -> list[Reconstruction]:
    """Train, and write `output/model` with its card; a run that was interrupted goes on from its last checkpoint.

    The weights that are saved are the denoiser's exponential moving average. A kill loses at most `every` steps,
    which are done again with the same images and noise, so that the weights are those of a run that was not killed.

    `trainer.max_steps` may be another one when a run goes on: it is lengthened or ends early, and its learning rate
    follows the new cosine from there on, so it rises again where the end moves away. A run whose last checkpoint lies
    behind its new end stops there, its learning rate not yet fallen. A finished run may only be lengthened; its model
    stays as `model-STEPS`.

    Args:
        model: The model to be trained.
        data: Its images.
        output: Folder of the run: `checkpoints` while it lasts, `progress`, and once it is finished `model`, and
            `finished` with the last checkpoint.
        config: Everything that decides the result.
        every: Optimizer steps between checkpoints, and between pictures of progress.
        make_trainer: Builds the trainer around the given callbacks.
        command: The command as the user typed it, for the card.
        minutes: What the number of steps was chosen for, if it was, so that a resumed run keeps the choice.

    Returns:
        What the model card says about the test images; nothing in processes other than the first.

    Raises:
        UserError: If the folder holds something else, or the settings contradict each other.
    """
    check_outside(output, data.source.folders)
    folder, checkpoints, finished = output / "model", output / "checkpoints", output / "finished"
    tested = data.source.test  # so that a folder that does not exist is found before the training is spent
    average = DenoiserAverage()
    pictures = TrainingPictures(output / "progress", every, average.shown)
    shared = LambdaCallback(setup=lambda trainer, module, stage: check_shared(trainer, output))
    callbacks = [shared, average, pictures, *checkpointing(checkpoints, every)]  # the average before who shows it
    trainer = make_trainer(callbacks)
    check_settings(model, trainer)
    # In this order: the first process moves the model before it describes a longer training.
    trained = recorded_steps(output) == steps_of(config) and folder.is_dir()
    if trainer.is_global_zero:
        open_folder(output, config, minutes)
    if not trained:
        begun = latest_checkpoint(checkpoints, finished)
        go_on(trainer, model, data, begun, pictures, average)
    if not trainer.is_global_zero:
        return []
    if not trained:
        with whole_folder(folder) as partial:
            model.save(partial)
            write_preset(partial, model, data.image_size)
            write_trained_on(partial, map(data.source.sha256, data.source.pool))
    keep_last(checkpoints, finished)
    return write_model_card(folder, model, data.source, tested, command)


def is_finished(output: Path, config: dict[str, Any]) -> bool:
    """Whether the folder holds the finished model of this configuration.

    Raises:
        UserError: If it holds something else.
    """
    check_folder(output, config)
    written = (output / "model" / CARD).is_file()  # the last thing to be written
    return written and recorded_steps(output) == steps_of(config)


def check_folder(output: Path, config: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but a training of this configuration, of whatever number of steps.

    Raises:
        UserError: If it does.
    """
    found = read_training(output)
    if found is None:
        return
    remedy = "choose another `output` or delete it"
    begun, ended, wanted = found["config"], steps_of(found["config"]), steps_of(config)
    as_long = begun | {"trainer": begun["trainer"] | {"max_steps": wanted}}
    check_same(output, "training", as_long, config, remedy)
    if ended != wanted and (output / "model").is_dir():
        if wanted < ended:
            check_same(output, "training", begun, config, remedy)
        if latest_checkpoint(output / "finished", output / "checkpoints") is None:
            raise UserError(
                "trainer.max_steps",
                f"'{output}' is finished after {ended} steps and has no checkpoint to go on from",
                "choose another `output`",
            )


def steps_of(config: dict[str, Any]) -> int:
    """The number of optimizer steps of a configuration."""
    return int(config["trainer"]["max_steps"])


def read_training(output: Path) -> dict[str, Any] | None:
    """What a folder says of the training in it; None if there is none.

    Raises:
        UserError: If it holds something else, or that cannot be read.
    """
    found = read_claim(output, MANIFEST, "training")
    config = {} if found is None else found.get("config")
    if found is not None and not (isinstance(config, dict) and isinstance(config.get("trainer"), dict)):
        raise UserError("output", f"'{output / MANIFEST}' cannot be read", "choose another `output`")
    return found


def recorded_steps(output: Path, minutes: float | None = None) -> int | None:
    """The number of steps of the training in a folder; None if there is none, or it was chosen for other minutes."""
    found = read_training(output)
    if found is None or minutes not in (None, found.get("minutes")):
        return None
    return steps_of(found["config"])


def recorded_first_phase(output: Path) -> int | None:
    """The number of steps of the autoencoder of the training in a folder; None if there is none."""
    found = read_training(output)
    model = found["config"].get("model") if found else None
    return model.get("init_args", {}).get("autoencoder_steps") if isinstance(model, dict) else None


def open_folder(output: Path, config: dict[str, Any], minutes: float | None = None) -> None:
    """Make the folder ready for this training, new, resumed or of another length.

    What an interrupted save left is deleted; the finished model of a shorter training is moved aside.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        for partial in output.glob(".*.partial"):
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        before = recorded_steps(output)
        if before is not None and before != steps_of(config) and (output / "model").is_dir():
            aside = output / f"model-{before:07d}"
            shutil.rmtree(aside, ignore_errors=True)
            (output / "model").rename(aside)
        if before != steps_of(config):
            begun = read_training(output) or {"versions": library_versions()}
            write_json(output / MANIFEST, begun | {"config": config, "minutes": minutes})
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
            "the learning rate falls to 0 over them: try `trainer.max_steps` 10000, or `minutes` 30",
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
