"""Which model makes a synthetic set? The study's own, or one that differs: in its inversion, tuning or backbone."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L

from augment.backbones.latent import LatentBackbone
from augment.backbones.tuned import MANIFEST
from augment.runtime.json_files import read_object
from augment.runtime.threads import pinned_threads
from augment.runtime.trainer import QUIET_TRAINER
from augment.synthesis.synthesizer import Synthesizer
from augment.tuning.data import TuningData
from augment.tuning.run import PRECISIONS, describe, is_finished, tune
from augment.tuning.tuner import Tuner
from classify.studies.results_folder import StudyFolder
from classify.studies.rows import WantedSet
from classify.studies.settings import Study
from classify.studies.variants import Variant, changed_model

log = logging.getLogger(__name__)

CHECKPOINT_EVERY = 100
"""Optimizer steps of a tuning that a kill may cost."""


def tuning_name(wanted: WantedSet) -> str:
    """Name of the tuning that a set is made with."""
    return f"shots{wanted.shots}-seed{wanted.seed}{Variant(tuning=wanted.variant.tuning).name}"


def model_of(study: Study, folder: StudyFolder, wanted: WantedSet) -> Synthesizer:
    """The model that makes a set; its tuning, if it has one, is finished."""
    tuned = None if wanted.variant.tuning is None else str(folder.tuning(tuning_name(wanted)))
    return changed_model(study.synthesizer, wanted.variant, tuned)


def bank_of(folder: StudyFolder, wanted: WantedSet) -> Path:
    """Where the latents of a set lie: a bank holds those of one backbone."""
    variant = wanted.variant
    if variant.backbone is not None:
        return folder.bank.with_name(folder.bank.name + replace(variant, inversion=None).name)
    if variant.tuning is None:
        return folder.bank
    return folder.bank.with_name(f"{folder.bank.name}-{tuning_name(wanted)}")


def tune_backbone(study: Study, folder: StudyFolder, wanted: WantedSet) -> None:
    """Tune the study's backbone to the images of a set, if that was not done before; the test images are not seen."""
    backbone, tuning = study.synthesizer.backbone, wanted.variant.tuning
    assert tuning is not None and isinstance(backbone, LatentBackbone)
    precision = study.synthesizer.precision
    tuner = Tuner(backbone.with_tuning(None), tuning, precision, seed=wanted.seed)
    data = TuningData(study.source, wanted.shots, wanted.seed, image_size=backbone.image_size, skip_bad=study.skip_bad)
    family = {"class_path": f"{type(backbone).__module__}.{type(backbone).__qualname__}"}
    config = describe(tuner, data, family, devices=1)

    def make_trainer(callbacks: list[L.Callback]) -> L.Trainer:
        options = QUIET_TRAINER | {"enable_checkpointing": True, "max_epochs": -1, "callbacks": callbacks}
        return L.Trainer(max_steps=tuning.steps, devices=1, precision=PRECISIONS[precision], **options)

    output = folder.tuning(tuning_name(wanted))
    if not is_finished(output):
        log.warning("tuning the backbone at %d shots, seed %d: %d steps", wanted.shots, wanted.seed, tuning.steps)
    with pinned_threads(study.threads):
        tune(tuner, data, output, config, CHECKPOINT_EVERY, make_trainer)


def spent(folder: StudyFolder, wanted: WantedSet, seconds: float | None, cost: float | None) -> dict[str, float | None]:
    """Seconds and cost of a set, those of its tuning included; None for what is not known.

    Args:
        folder: Of the study.
        wanted: The set.
        seconds: Of making its images.
        cost: Likewise.
    """
    made = {"seconds": seconds, "cost": cost}
    if wanted.variant.tuning is None:
        return made
    path = folder.tuning(tuning_name(wanted)) / MANIFEST
    tuning: dict[str, Any] = read_object(path, "output", "delete it", {"spent": dict})["spent"]
    # Of a tuning that was resumed only a part would be known.
    return {name: None if own is None or not tuning else own + tuning[name] for name, own in made.items()}
