"""How long do steps take? Timed once the device is warm, and only when it has done all that it was told."""

from typing import Any

import lightning as L

from augment.runtime.profile import now


class StopWatch(L.Callback):
    """Times the steps after the first few.

    Args:
        warmup: Steps before the clock runs.

    Attributes:
        seconds: From then to the end of the training.
    """

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.seconds = 0.0
        self._begun: float | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin."""
        if self._begun is None and trainer.global_step == self.warmup:
            self._begun = now(pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End."""
        assert self._begun is not None
        self.seconds = now(pl_module.device) - self._begun
