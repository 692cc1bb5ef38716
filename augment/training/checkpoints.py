"""From where does a training go on? Its checkpoints by step, the last of which a finished training keeps."""

import logging
import shutil
import zipfile
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint

log = logging.getLogger(__name__)


def checkpointing(folder: Path, every: int) -> list[L.Callback]:
    """Callbacks that keep the newest checkpoint: every so many optimizer steps, and at the last one.

    Args:
        folder: Of the checkpoints.
        every: Steps between them, the most that a kill can lose.
    """
    last = LambdaCallback(on_train_batch_end=lambda trainer, *_: save_last(trainer, folder, every))
    regular = ModelCheckpoint(folder, filename="{step:07d}", auto_insert_metric_name=False, every_n_train_steps=every)
    return [last, regular]


def go_on(
    trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule, begun: Path | None, *ends: L.Callback
) -> None:
    """Train, from a checkpoint if there is one.

    Args:
        trainer: Knows the last step.
        module: What is trained.
        data: Its images.
        begun: The checkpoint.
        ends: Told of the end also where the checkpoint is of the last step, which Lightning does not call an end.
    """
    if begun is not None and trainer.is_global_zero:
        log.warning("going on from step %d of %d", int(begun.stem), trainer.max_steps)
    trainer.fit(module, datamodule=data, ckpt_path=begun, weights_only=True)
    if begun is not None and int(begun.stem) >= trainer.max_steps:
        for callback in ends:
            callback.on_train_end(trainer, module)


def save_last(trainer: L.Trainer, folder: Path, every: int) -> None:
    """Keep the last step too, so that a finished training can be lengthened; all processes must call this."""
    if trainer.global_step == trainer.max_steps and trainer.global_step % every:
        trainer.save_checkpoint(folder / f"{trainer.global_step:07d}.ckpt")


def keep_last(checkpoints: Path, finished: Path) -> None:
    """Move the last checkpoint to where a finished training has it, and delete the others."""
    last = latest_checkpoint(checkpoints, finished)
    if last is not None and last.parent != finished:
        finished.mkdir(exist_ok=True)
        last = last.rename(finished / last.name)
    for other in finished.glob("*.ckpt"):
        if other != last:
            other.unlink()
    shutil.rmtree(checkpoints, ignore_errors=True)


def latest_checkpoint(*folders: Path) -> Path | None:
    """The checkpoint of the highest step; one that a kill cut short has no table of contents and does not count."""
    whole = [path for folder in folders for path in folder.glob("*.ckpt") if zipfile.is_zipfile(path)]
    return max(whole, key=lambda path: int(path.stem), default=None)
