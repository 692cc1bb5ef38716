"""The exponential moving average of a denoiser's weights: the ones that are shown and saved."""

from collections.abc import Sequence

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

DECAY = 0.999


class DenoiserAverage(WeightAveraging):
    """Lightning's averaging of weights, from the first step of the denoiser on.

    The decay warms up, so that the first, random weights are soon forgotten. Every process averages the weights that
    all of them share; a checkpoint holds both.

    Args:
        start: Optimizer steps before the denoiser begins.
    """

    def __init__(self, start: int) -> None:
        # Buffers are copied: a whole number, such as a position, would be rounded down by averaging.
        super().__init__(use_buffers=False, multi_avg_fn=update)
        self.start = start

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After each step of the denoiser."""
        return step_idx is not None and step_idx >= self.start


def decay(updates: int) -> float:
    """Share of the old average after n updates, (1 + n) / (10 + n) up to 0.999, as in diffusers' EMAModel."""
    return min(DECAY, (1 + updates) / (10 + updates))


def update(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor) -> None:
    """Move the averages in place; frozen weights stay as they are, to the bit."""
    share = 1 - decay(int(updates))
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, share)
