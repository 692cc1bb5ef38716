"""What does a step of `augment tune` take at Stable Diffusion's size? Time, memory, and what a whole tuning would."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import lightning as L
from jsonargparse.typing import PositiveInt

from augment.backbones.base import Precision
from augment.runtime.trainer import QUIET_TRAINER
from augment.tuning.data import TuningData
from augment.tuning.dry_run import estimate
from augment.tuning.lora import Lora
from augment.tuning.run import PRECISIONS
from augment.tuning.settings import TuningSettings
from augment.tuning.tuner import Tuner
from benchmarks.architectures import Size, save_checkpoint
from benchmarks.gpu import SHOTS, load, real_images
from benchmarks.record import Figure, Report, run

STEPS = 500
"""Of a whole tuning: the default."""


def tuning(
    size: Size = "full",
    batch_size: PositiveInt = 1,
    precision: Precision = "fp32",
    checkpointing: tuple[bool, ...] = (True, False),
    accelerator: Literal["cuda", "cpu"] = "cpu",
    warmup: PositiveInt = 1,
    timed: PositiveInt = 1,
) -> Iterator[Report]:
    """Time steps of a tuning of Stable Diffusion 1.5 with random weights: LoRA of rank 16 on attention, and new words.

    Args:
        size: The published one, or a tiny stand-in.
        batch_size: Images in a step.
        precision: What the networks compute in.
        checkpointing: Without and with gradient checkpointing.
        accelerator: Where it runs.
        warmup: Steps before the clock runs.
        timed: Steps that are timed.
    """
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder / "model", "sd15", size)
        backbone = load(folder / "model", "sd15")
        source = real_images(folder / "images", backbone.image_size)
        for kept in checkpointing:

            def make_trainer(callbacks: list[L.Callback], steps: int) -> L.Trainer:
                options = QUIET_TRAINER | {"max_epochs": -1, "callbacks": callbacks, "accelerator": accelerator}
                return L.Trainer(max_steps=steps, devices=1, precision=PRECISIONS[precision], **options)

            settings = TuningSettings(lora=Lora(), batch_size=batch_size)
            tuner = Tuner(load(folder / "model", "sd15"), settings, precision, gradient_checkpointing=kept)
            data = TuningData(source, SHOTS, image_size=backbone.image_size)
            cost = estimate(tuner, data, make_trainer, warmup, timed)
            how = "with gradient checkpointing" if kept else "without gradient checkpointing"
            report.figures.extend(
                [
                    Figure(f"seconds per step, {how}", (cost.seconds,)),
                    Figure(f"hours for {STEPS} steps, extrapolated, {how}", (STEPS * cost.seconds / 3600,)),
                    Figure(f"GB of a step beside the networks, {how}", (cost.memory / 1e9,)),
                ]
            )
            report.timings[how] = [cost.seconds]
            report.details["trained weights"] = cost.weights
            yield report


if __name__ == "__main__":
    run(tuning)
