"""What can be seen while a diffusion model trains: the curve of its losses, and images made with its weights so far."""

import csv
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

import lightning as L
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import save_image

from augment.images.pixels import to_float

COLUMNS = 8
TILE = 64
"""Smallest side, in pixels, of an image in a grid."""


def as_it_is(model: L.LightningModule) -> AbstractContextManager[None]:
    """Shows a model with the weights that it has."""
    return nullcontext()


class Shown(Protocol):
    """A training that can be looked at."""

    @property
    def objective(self) -> str:
        """Name of the logged loss that the next step lowers."""

    def preview(self, images: Tensor) -> tuple[str, Tensor]:
        """What the model can do at this step, from some training images: a name, and images in rows of 8."""


class TrainingPictures(L.Callback):
    """Writes `loss.csv`, `loss.png` and grids of images such as `samples-0000500.png`, by the first process alone.

    A point of the curve is the mean loss of the steps since the one before, `trainer.log_every_n_steps` of them. The
    points are part of a checkpoint, so that the curve of a resumed run is whole.

    Args:
        folder: Where to write.
        every: Optimizer steps between pictures; the last step has one too.
        shown: Gives the model, for a while, the weights that make the samples; by default those it has.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        shown: Callable[[L.LightningModule], AbstractContextManager[None]] = as_it_is,
    ) -> None:
        self.folder = folder
        self.every = every
        self.shown = shown
        self.points: list[tuple[int, str, float]] = []
        self._name = ""
        self._sum = torch.zeros(())
        self._count = 0
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """The curve so far."""
        return {"points": self.points, "name": self._name, "sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curve of the run that is resumed."""
        self.points = [tuple(point) for point in state_dict["points"]]
        self._name, self._count = state_dict["name"], state_dict["count"]
        self._sum = torch.tensor(state_dict["sum"])

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notice the beginning of a phase."""
        objective = cast(Shown, pl_module).objective
        if objective != self._name:
            self._add_point(trainer.global_step)
            self._name = objective
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss; draw when it is time."""
        loss = trainer.callback_metrics[self._name].detach()
        self._sum = self._sum.to(loss.device) + loss  # without waiting for the device
        self._count += 1
        step = trainer.global_step
        if step == self._step:  # gradients are still being accumulated
            return
        if step % getattr(trainer, "log_every_n_steps", 1) == 0:
            self._add_point(step)
        if step % self.every == 0 and step < trainer.max_steps:
            self.draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the finished model."""
        self._add_point(trainer.global_step)
        self.draw(trainer, pl_module)

    def _add_point(self, step: int) -> None:
        if self._count:
            self.points.append((step, self._name, float(self._sum) / self._count))
        self._sum, self._count = torch.zeros(()), 0

    @torch.no_grad()
    def draw(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the curve and the images of this step."""
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_losses(self.folder / "loss.csv", self.points)
        if self.points:
            draw_losses(self.folder / "loss.png", self.points)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        with self.shown(pl_module):
            name, images = cast(Shown, pl_module).preview(to_float(data.images[:COLUMNS].to(pl_module.device)))
        save_grid(self.folder / f"{name}-{trainer.global_step:07d}.png", images)


def write_losses(path: Path, points: list[tuple[int, str, float]]) -> None:
    """The points of the curve as CSV."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("step", "loss", "mean_since_last"), *points])


def draw_losses(path: Path, points: list[tuple[int, str, float]]) -> None:
    """One panel per loss, on a logarithmic axis: the points, and their moving mean."""
    names = list(dict.fromkeys(name for _, name, _ in points))
    figure = Figure(figsize=(5 * len(names), 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        steps, losses = zip(*((step, loss) for step, of, loss in points if of == name), strict=True)
        axes.plot(steps, losses, ".-", color="#8a8f98", lw=0.6, ms=3, alpha=0.6, label="mean since the last point")
        axes.plot(steps, smooth(losses), color="#2f6db3", lw=1.8, label="smoothed")
        axes.set(title=name, xlabel="optimizer step", yscale="log")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def smooth(values: tuple[float, ...]) -> list[float]:
    """Mean of each value and its neighbours, a fortieth of all on either side."""
    reach = max(1, len(values) // 40)
    windows = (values[max(0, n - reach) : n + reach + 1] for n in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def save_grid(path: Path, images: Tensor) -> None:
    """Images [M, 3, H, W] in [-1, 1] in rows of 8, small ones enlarged pixel by pixel."""
    enlarge = max(1, TILE // images.shape[-1])
    images = F.interpolate(images.float(), scale_factor=enlarge, mode="nearest")
    save_image(images, path, nrow=COLUMNS, normalize=True, value_range=(-1, 1))
