"""Which trainer runs our predict loops? One that says nothing of its own and deals no samples."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch

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
