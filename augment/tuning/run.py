"""One tuning from the first step to the files that are saved, however often it is interrupted."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LambdaCallback

from augment.backbones.precision import Precision
from augment.backbones.tuned import CARD, LORA, MANIFEST
from augment.runtime.claim import check_configuration, check_outside, read_claim
from augment.runtime.cost import Meter
from augment.runtime.files import write_json
from augment.runtime.fingerprint import library_versions
from augment.runtime.processes import check_shared
from augment.runtime.trainer import check_trains
from augment.training.checkpoints import checkpointing, go_on, latest_checkpoint
from augment.training.pictures import TrainingPictures
from augment.tuning.card import render
from augment.tuning.data import TuningData
from augment.tuning.lora import save_lora
from augment.tuning.tuner import Tuner

MakeTrainer = Callable[[list[L.Callback]], L.Trainer]

PRECISIONS: dict[Precision, Any] = {"fp32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""What Lightning calls a training in a precision whose own weights stay float32."""


def describe(tuner: Tuner, data: TuningData, backbone: dict[str, Any], devices: int) -> dict[str, Any]:
    """Everything that decides what a tuning comes to, as JSON holds it.

    Args:
        tuner: Gives the settings.
        data: Gives the images.
        backbone: Class path and arguments of the backbone, from which it is built again.
        devices: Processes that share the steps.
    """
    return {
        "backbone": backbone,
        "checkpoint": tuner.checkpoint,
        **tuner.tuning.describe(),
        "precision": tuner.precision,
        "seed": tuner.seed,
        "devices": devices,
        "images": data.hashes,
    }


def tune(
    tuner: Tuner,
    data: TuningData,
    output: Path,
    config: dict[str, Any],
    every: int,
    make_trainer: MakeTrainer,
    command: str = "",
) -> Path:
    """Train, and write LoRA weights and new tokens; a run that was interrupted goes on from its last checkpoint.

    A resumed run draws what an uninterrupted one would have drawn, so that both write the same weights.

    Args:
        tuner: The backbone in tuning.
        data: The few-shot set.
        output: Folder of the run: `checkpoints` while it lasts, `progress`, and once it is finished
            `pytorch_lora_weights.safetensors`, `tokens` and a card.
        config: Everything that decides the result, from `describe`.
        every: Optimizer steps between checkpoints, and between pictures of progress.
        make_trainer: Builds the trainer around the given callbacks.
        command: The command as the user typed it, for the card.

    Raises:
        UserError: If the folder holds something else, or the settings contradict each other.
    """
    check_outside(output, data.source.folders)
    check_configuration(output, MANIFEST, "tuning", config, "choose another `output` or delete it")
    if is_finished(output):
        return output
    tuner.prepare(data)
    checkpoints = output / "checkpoints"
    shared = LambdaCallback(setup=lambda trainer, module, stage: check_shared(trainer, output))
    pictures = TrainingPictures(output / "progress", every)
    trainer = make_trainer([shared, pictures, *checkpointing(checkpoints, every)])
    check_trains(trainer)
    if trainer.is_global_zero and read_claim(output, MANIFEST, "tuning") is None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / MANIFEST, {"config": config, "versions": library_versions()})
    begun = latest_checkpoint(checkpoints)
    begun_at, meter = time.perf_counter(), Meter()
    with meter.running():
        go_on(trainer, tuner, data, begun, pictures)
    if trainer.is_global_zero:
        save(tuner, output)
        spent = {"seconds": time.perf_counter() - begun_at, "cost": meter.seconds} if begun is None else {}
        found = read_claim(output, MANIFEST, "tuning") or {}
        write_json(output / MANIFEST, found | {"spent": spent})  # of a resumed run only a part is known
        (output / CARD).write_text(render(tuner, data, command), encoding="utf-8")
        shutil.rmtree(checkpoints, ignore_errors=True)
    return output


def is_finished(output: Path) -> bool:
    """Whether the folder holds a finished tuning."""
    return (output / CARD).is_file()  # the last thing to be written


def save(tuner: Tuner, output: Path) -> None:
    """Write what was trained."""
    if tuner.tuning.lora is not None:
        (output / LORA).unlink(missing_ok=True)
        save_lora(tuner.backbone, output)
    if tuner.tokens is not None:
        tuner.tokens.save(output)
