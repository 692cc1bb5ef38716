"""The exponential moving average of a model's weights: the ones that are shown and saved."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from augment.pretrain.base import Pretraining

DECAY = 0.999


class DenoiserAverage(L.Callback):
    """Averages the trained networks from the first step of the denoiser on, and puts the average in their place.

    The decay warms up, so that the first, random weights are soon forgotten. Every process averages the weights that
    all of them share; a checkpoint holds both. When training ends, the model has the averaged weights.
    """

    def __init__(self) -> None:
        self._average: AveragedModel | None = None
        self._updated = 0  # optimizer steps when the average was last moved

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make room for the average."""
        # Buffers are copied: a whole number, such as a position, would be rounded down by averaging.
        self._average = AveragedModel(networks_of(pl_module), pl_module.device, multi_avg_fn=update)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average after each optimizer step of the denoiser."""
        assert isinstance(pl_module, Pretraining) and self._average is not None
        if trainer.global_step > max(self._updated, pl_module.denoising_from):
            self._average.update_parameters(networks_of(pl_module))
            self._updated = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average in the model."""
        self.apply(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The average, for a checkpoint."""
        return {"updated": self._updated, "average": self._average.state_dict() if self._average else {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the average of the run that is resumed."""
        assert self._average is not None
        self._updated = state_dict["updated"]
        self._average.load_state_dict(state_dict["average"])

    @torch.no_grad()
    def apply(self, model: L.LightningModule) -> None:
        """Give the model the averaged weights, if there are any yet."""
        if self._average is not None and self._updated:
            networks_of(model).load_state_dict(self._average.module.state_dict())

    @contextmanager
    def shown(self, model: L.LightningModule) -> Iterator[None]:
        """Give the model the averaged weights for a while."""
        trained = {name: value.clone() for name, value in networks_of(model).state_dict().items()}
        self.apply(model)
        try:
            yield
        finally:
            networks_of(model).load_state_dict(trained)


def networks_of(model: L.LightningModule) -> nn.ModuleDict:
    """The networks that are trained, as one module that shares their weights."""
    assert isinstance(model, Pretraining)
    return nn.ModuleDict(model.networks)


def decay(updates: int) -> float:
    """Share of the old average after n updates, (1 + n) / (10 + n) up to 0.999, as in diffusers' EMAModel."""
    return min(DECAY, (1 + updates) / (10 + updates))


def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
    """Move the averages in place; frozen weights stay as they are, to the bit."""
    share = 1 - decay(int(updates))
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, share)
