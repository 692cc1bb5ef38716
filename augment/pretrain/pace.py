"""How long will a training take? A stretch of each phase is timed on a copy of the model; nothing is written."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Self

import lightning as L
from lightning.pytorch.utilities.seed import isolate_rng

from augment.errors import UserError
from augment.pretrain.base import AUTOENCODER_SHARE, Pretraining
from augment.pretrain.data import PretrainData
from augment.training.stop_watch import StopWatch

WARMUP_STEPS = 5
"""Before the clock runs: the first steps prepare the device, and scale the latents."""

TIMED_STEPS = 30


@dataclass(frozen=True)
class Pace:
    """Seconds per optimizer step, without pictures, checkpoints and the model card.

    Attributes:
        switch: The step at which the denoiser begins.
        autoencoder: Seconds per step before it; 0 if there are none.
        denoiser: Seconds per step from there on.
    """

    switch: int
    autoencoder: float
    denoiser: float

    def seconds(self, first: int, last: int) -> float:
        """From one step to another."""
        before = max(0, min(last, self.switch) - first)
        return before * self.autoencoder + max(0, last - max(first, self.switch)) * self.denoiser

    def shared(self, minutes: float) -> Self:
        """The same pace where the denoiser begins once its share of the minutes does, if that is sooner."""
        if not self.switch:
            return self
        return replace(self, switch=min(self.switch, max(1, int(60 * minutes * AUTOENCODER_SHARE / self.autoencoder))))

    def steps(self, minutes: float) -> int:
        """As many as end in time.

        Raises:
            UserError: If the autoencoder alone takes longer.
        """
        first = self.seconds(0, self.switch)
        steps = self.switch + int((60 * minutes - first) / self.denoiser)
        if steps <= self.switch:
            raise UserError(
                "minutes",
                f"{minutes:g} end before the denoiser learns anything (the {self.switch} steps before take about "
                f"{first / 60:.1f} minutes)",
                "raise it, or lower `model.autoencoder_steps`",
            )
        return steps


def time_steps(
    model: Pretraining, data: PretrainData, make_trainer: Callable[[list[L.Callback], int], L.Trainer]
) -> Pace:
    """Train copies of the model for a few steps; the random numbers of the training itself stay as they are.

    Args:
        model: Not changed.
        data: Its images.
        make_trainer: Builds a trainer around the given callbacks that writes nothing and ends after so many steps.

    Returns:
        The first process's pace, the same in all.
    """
    never = WARMUP_STEPS + TIMED_STEPS + 1
    autoencoder = time_phase(model, never, data, make_trainer) if model.denoising_from else 0.0
    return Pace(model.denoising_from, autoencoder, time_phase(model, 0, data, make_trainer))


def time_phase(
    model: Pretraining,
    denoising_from: int,
    data: PretrainData,
    make_trainer: Callable[[list[L.Callback], int], L.Trainer],
) -> float:
    """Seconds per step of the phase that a model is in which begins to denoise at that step."""
    with isolate_rng():
        copy, watch = deepcopy(model), StopWatch(WARMUP_STEPS)
        copy.denoising_from = denoising_from
        trainer = make_trainer([watch], WARMUP_STEPS + TIMED_STEPS)
        trainer.fit(copy, datamodule=data)
        return float(trainer.strategy.broadcast(watch.seconds / TIMED_STEPS))
