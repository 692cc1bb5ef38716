"""What would a tuning take? A few steps of it are timed on the real networks; nothing is written."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import lightning as L
from rich.table import Table

from augment.runtime.peak_memory import peak_memory
from augment.runtime.progress import clock
from augment.training.stop_watch import StopWatch
from augment.tuning.data import TuningData
from augment.tuning.tuner import Tuner


@dataclass(frozen=True)
class TuningCost:
    """What a tuning takes on this machine.

    Attributes:
        tunings: How many there are: one for the set, or one for each class.
        steps: Optimizer steps of each.
        seconds: Per step, without the images that must not be forgotten, pictures and checkpoints.
        weights: That are trained, in each.
        memory: Bytes that a step takes at most beside the networks; 0 where nobody counts them.
    """

    tunings: int
    steps: int
    seconds: float
    weights: int
    memory: int


def estimate(
    tuner: Tuner,
    data: TuningData,
    make_trainer: Callable[[list[L.Callback], int], L.Trainer],
    warmup: int = 2,
    timed: int = 5,
) -> TuningCost:
    """Tune for a few steps.

    Args:
        tuner: The backbone in tuning, of no other use afterwards.
        data: The few-shot set.
        make_trainer: Builds a trainer around the given callbacks that writes nothing and ends after so many steps.
        warmup: Steps before the clock runs: the first ones prepare the device.
        timed: Steps that are timed.
    """
    tunings = len(data.classes) if tuner.tuning.scope == "class" else 1
    steps, few = tuner.tuning.steps, min(tuner.tuning.prior_images, 1)
    own = replace(tuner.tuning, scope="set", prior_images=few)
    tuner = Tuner(tuner.backbone, own, tuner.precision, tuner.gradient_checkpointing, tuner.seed)
    tuner.prepare(data)
    weights = sum(parameter.numel() for parameter in tuner.parameters() if parameter.requires_grad)
    watch = StopWatch(warmup)
    trainer = make_trainer([watch], warmup + timed)
    with peak_memory(trainer.strategy.root_device) as peak:
        trainer.fit(tuner, datamodule=data)
    return TuningCost(tunings, steps, watch.seconds / timed, weights, peak.added)


def cost_table(cost: TuningCost, output: str) -> Table:
    """It as a table."""
    table = Table(title=f"what '{output}' would take", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    if cost.tunings > 1:
        table.add_row("tunings, one for each class", f"{cost.tunings:,}")
    table.add_row("trained weights", f"{cost.weights:,}")
    table.add_row("optimizer steps", f"{cost.tunings * cost.steps:,}")
    table.add_row("seconds per step", f"{cost.seconds:.3g}")
    table.add_row("time, without pictures and checkpoints", clock(cost.tunings * cost.steps * cost.seconds))
    if cost.memory:
        table.add_row("memory of a step beside the networks", f"{cost.memory / 1e9:.2f} GB")
    return table
