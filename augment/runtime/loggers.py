"""Where do training curves go? To one of Lightning's loggers, in the run's own folder."""

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from augment.errors import UserError

LoggerName = Literal["csv", "tensorboard", "wandb", "none"]


def make_logger(kind: LoggerName, folder: Path, name: str) -> Logger | Literal[False]:
    """The logger of one training; what `lightning.Trainer(logger=…)` takes.

    Args:
        kind: `csv` writes `folder/metrics.csv`, `tensorboard` an event file; `wandb` makes a run in the project
            `WANDB_PROJECT` (`chm-augment` if that is not set), with its files in `folder/wandb`.
        folder: Where to.
        name: Name of the training, for W&B.

    Raises:
        UserError: If the logger's package is not installed, or W&B does not know the user.
    """
    if kind == "none":
        return False
    if kind in ("tensorboard", "wandb") and find_spec(kind) is None:
        raise UserError(
            "logger", f"'{kind}' needs a package that is not installed", f"run pip install {kind}, or choose csv"
        )
    if kind == "csv":
        return CSVLogger(folder, name="", version="")
    if kind == "tensorboard":
        return TensorBoardLogger(folder, name="", version="")
    wandb = import_module("wandb")
    try:
        wandb.login()
    except wandb.Error as error:
        raise UserError("logger", f"wandb: {error}".rstrip("."), "or set WANDB_MODE=offline, or choose csv") from error
    return WandbLogger(name=name, save_dir=folder, project=os.environ.get("WANDB_PROJECT", "chm-augment"))


def close_logger(logger: Logger | Literal[False]) -> None:
    """End a W&B run, so that the next training of this process gets one of its own; the others end by themselves."""
    if isinstance(logger, WandbLogger):
        logger.experiment.finish()
