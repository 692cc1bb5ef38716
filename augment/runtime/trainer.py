"""Which trainer runs our predict loops? One that says nothing of its own and deals no samples."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer

from augment.errors import UserError
from augment.runtime.image_bar import ImageProgress

QUIET_TRAINER: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}
"""A trainer that says nothing of its own and leaves the dealing of work to our loaders."""

MakeTrainer = Callable[[list[L.Callback]], L.Trainer]


def check_trains(trainer: L.Trainer) -> None:
    """Refuse a trainer that would train nothing, or for no fixed number of steps, or test nothing.

    Raises:
        UserError: If it is one.
    """
    if trainer.max_steps < 1:
        problem = f"{trainer.max_steps} is no number of optimizer steps to train for"
        raise UserError("trainer.max_steps", problem, "give at least 1")
    for name in ("max_epochs", "limit_train_batches", "limit_test_batches"):
        if getattr(trainer, name) == 0:
            raise UserError(f"trainer.{name}", "0 leaves nothing to train or to test on", "leave it out")
    timers = [callback for callback in getattr(trainer, "callbacks", []) if isinstance(callback, Timer)]
    if any((left := timer.time_remaining()) is not None and left <= 0 for timer in timers):
        raise UserError("trainer.max_time", "0 seconds leave no time to train", "give more, or leave it out")
    if getattr(trainer, "fast_dev_run", False):  # set by Lightning, but not declared
        raise UserError("trainer.fast_dev_run", "a trial of a batch or so trains no model", "leave it out")


def default_trainer(callbacks: list[L.Callback]) -> L.Trainer:
    """One process on the best device there is, quiet but for the given callbacks."""
    return L.Trainer(devices=1, callbacks=callbacks, **QUIET_TRAINER)


def device_name(trainer: L.Trainer) -> str:
    """The kind of device that a trainer ran on."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def progress_bar(label: str, show: bool) -> list[L.Callback]:
    """The progress bar as a list of callbacks, empty if it is not wanted."""
    return [ImageProgress(label)] if show else []
