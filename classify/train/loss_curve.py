"""Had a training converged? Its loss on the training batches, as a short curve."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

POINTS = 40
"""Of a curve, at most."""


class LossCurve(L.Callback):
    """Keeps the loss of every training batch on the device, and tells their means over spans of equal length."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the loss of a batch without waiting for the device."""
        self._losses.append(outputs["loss"].detach())

    def points(self) -> list[float]:
        """At most POINTS means, in the order of the steps; their spans differ by at most one step."""
        if not self._losses:
            return []
        losses = torch.stack(self._losses).double().cpu()
        spans = torch.tensor_split(losses, min(POINTS, len(losses)))
        return [float(f"{span.mean():.5g}") for span in spans]
