"""How far is the run? A progress bar that counts images, their rate, and the time left."""

from typing import Any

import lightning as L
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from augment.runtime.terminal import PlainConsole


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed if task.elapsed else 0:.1f} images/s", style="cyan")


class ImageProgress(L.Callback):
    """Shows images done, images per second and time left, on the first process of a run.

    Every process works at its own share; the bar shows the first one's, and says so where there are several.

    Args:
        label: What is being done.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._progress: Progress | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        loader: Any = trainer.predict_dataloaders
        total = sum((len(batch) for batch in loader.sampler), 0)
        if not trainer.is_global_zero or not total:
            return
        share = f" (process 1 of {trainer.world_size})" if trainer.world_size > 1 else ""
        self._progress = Progress(
            TextColumn(f"{self.label}{share}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=PlainConsole(stderr=True),
        )
        self._progress.start()
        self._task = self._progress.add_task(self.label, total=total)

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
        if self._progress is not None:
            self._progress.advance(self._task, len(batch))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error stands below it."""
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
