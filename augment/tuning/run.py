"""One tuning from the first step to the files that are saved, however often it is interrupted."""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.utilities import rank_zero_only

from augment.backbones.precision import Precision
from augment.backbones.tuned import CARD, LORA, MANIFEST, class_folders
from augment.runtime.claim import check_configuration, check_outside, read_claim
from augment.runtime.cost import Meter
from augment.runtime.files import write_json
from augment.runtime.fingerprint import library_versions
from augment.runtime.processes import check_shared
from augment.runtime.trainer import check_trains
from augment.training.checkpoints import checkpointing, go_on, latest_checkpoint
from augment.training.pictures import TrainingPictures
from augment.tuning.card import render, render_classes
from augment.tuning.data import TuningData
from augment.tuning.lora import save_lora
from augment.tuning.tuner import Tuner

log = logging.getLogger(__name__)

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
    if tuner.tuning.scope == "class":
        return tune_classes(tuner, data, output, config, every, make_trainer, command)
    tuner.prepare(data)
    checkpoints = output / "checkpoints"
    shared = LambdaCallback(setup=lambda trainer, module, stage: check_shared(trainer, output))
    pictures = TrainingPictures(output / "progress", every)
    trainer = make_trainer([shared, pictures, *checkpointing(checkpoints, every)])
    check_trains(trainer)
    if trainer.is_global_zero:
        begin(output, config)
    begun = latest_checkpoint(checkpoints)
    begun_at, meter = time.perf_counter(), Meter()
    with meter.running():
        go_on(trainer, tuner, data, begun, pictures)
    if trainer.is_global_zero:
        save(tuner, output)
        spent = {"seconds": time.perf_counter() - begun_at, "cost": meter.seconds} if begun is None else {}
        finish(output, spent, render(tuner, data, command))
        shutil.rmtree(checkpoints, ignore_errors=True)
    return output


def tune_classes(
    tuner: Tuner,
    data: TuningData,
    output: Path,
    config: dict[str, Any],
    every: int,
    make_trainer: MakeTrainer,
    command: str,
) -> Path:
    """Tune on each class by itself: a tuning of its own for each, which a kill does not cost the others; see `tune`."""
    first = rank_zero_only.rank == 0  # type: ignore[attr-defined]  # set by Lightning, but not declared
    settings = replace(tuner.tuning, scope="set")
    parts = class_folders(output, data.classes)
    for number, (name, part) in enumerate(zip(data.classes, parts, strict=True), 1):
        own = Tuner(
            tuner.backbone.with_tuning(None), settings, tuner.precision, tuner.gradient_checkpointing, tuner.seed
        )
        images = TuningData(data.source, data.shots, data.seed, [name], data.image_size, data.skip_bad)
        described = {key: value for key, value in config.items() if key != "scope"} | {"images": images.hashes}
        if first:
            begin(output, config)
            log.warning("class '%s', %d of %d", name, number, len(parts))
        tune(own, images, part, described, every, make_trainer)
    if first:
        found: list[dict[str, float]] = [
            (read_claim(part, MANIFEST, "tuning") or {}).get("spent", {}) for part in parts
        ]
        spent = {key: float(sum(one[key] for one in found)) for key in ("seconds", "cost")} if all(found) else {}
        finish(output, spent, render_classes(tuner, data, command))
    return output


def begin(output: Path, config: dict[str, Any]) -> None:
    """Claim the folder for a tuning, if that was not done before."""
    if read_claim(output, MANIFEST, "tuning") is None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / MANIFEST, {"config": config, "versions": library_versions()})


def finish(output: Path, spent: dict[str, float], card: str) -> None:
    """Say what the tuning took, if that is known of all of it, and write its card, the last thing to be written."""
    write_json(output / MANIFEST, (read_claim(output, MANIFEST, "tuning") or {}) | {"spent": spent})
    (output / CARD).write_text(card, encoding="utf-8")


def is_finished(output: Path) -> bool:
    """Whether the folder holds a finished tuning."""
    return (output / CARD).is_file()


def save(tuner: Tuner, output: Path) -> None:
    """Write what was trained."""
    if tuner.tuning.lora is not None:
        (output / LORA).unlink(missing_ok=True)
        save_lora(tuner.backbone, output)
    if tuner.tokens is not None:
        tuner.tokens.save(output)
