"""How far is a training? Optimizer steps done of all, their rate, the time left, and the losses."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from augment.runtime.progress import Meter

LOSSES_SECONDS = 1.0
"""Between two looks at the losses, each of which waits for the device."""


class StepProgress(ProgressBar):
    """In place of Lightning's bar, which counts the batches of one epoch: a run here has steps, not epochs.

    Args:
        label: What is being done.
    """

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label
        self._enabled = True
        self._meter: Meter | None = None
        self._step = 0
        self._looked = 0.0

    def disable(self) -> None:
        """Show nothing; Lightning calls this on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show again."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar, from the step at which a resumed run goes on."""
        total = trainer.estimated_stepping_batches
        if self._enabled and total < float("inf"):
            self._step = trainer.global_step
            self._meter = Meter(self.label, int(total), "steps", self._step)
            self._meter.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step."""
        if self._meter is None:
            return
        if time.monotonic() - self._looked >= LOSSES_SECONDS:
            losses = self.get_metrics(trainer, pl_module)
            note = ", ".join(f"{name} {value:.4g}" for name, value in losses.items() if isinstance(value, float))
            self._meter.describe(note=note)
            self._looked = time.monotonic()
        self._meter.advance(trainer.global_step - self._step)
        self._step = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error stands below it."""
        self._close()

    def _close(self) -> None:
        if self._meter is not None:
            self._meter.stop()
            self._meter = None
