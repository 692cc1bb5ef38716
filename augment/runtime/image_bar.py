"""How far is a predict loop? Images done, their rate, and the time left."""

from typing import Any

import lightning as L

from augment.runtime.progress import Meter


class ImageProgress(L.Callback):
    """Shows images done, images per second and time left, on the first process of a run.

    Every process works at its own share; the first one's is shown, and said to be so where there are several.

    Args:
        label: What is being done.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._meter: Meter | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        loader: Any = trainer.predict_dataloaders
        total = sum((len(batch) for batch in loader.sampler), 0)
        if not trainer.is_global_zero or not total:
            return
        share = f" (process 1 of {trainer.world_size})" if trainer.world_size > 1 else ""
        self._meter = Meter(f"{self.label}{share}", total, "images")
        self._meter.start()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the batch."""
        if self._meter is not None:
            self._meter.advance(len(batch))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error stands below it."""
        self._close()

    def _close(self) -> None:
        if self._meter is not None:
            self._meter.stop()
            self._meter = None
