"""What decides a classifier? Its network, its images, its trainer: the configuration that an output folder holds."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import lightning as L
import torch

from augment.dataset.manifest import read_manifest
from classify.train.classifier import Classifier
from classify.train.data import ClassificationData


def describe_fit(
    model: Classifier, data: ClassificationData, trainer: L.Trainer, more: Mapping[str, Any], untested: bool = False
) -> dict[str, Any]:
    """Everything that decides what a training comes to, as it is read back from JSON.

    Args:
        model: The classifier, with its initial weights drawn from the seed that was last set.
        data: Its images; they count by their content, and not by where they lie.
        trainer: Devices and loggers say where and how fast it runs, and are left out.
        more: What else is written to the output folder, by name.
        untested: Whether there are no test images.
    """
    synthetic = None if data.synthetic is None else read_manifest(data.synthetic)["fingerprint"]
    chosen = [(shot.label, shot.name, shot.sha256) for shot in data.few_shot.all]
    tested = [] if untested else [(item.label, item.name) for item in data.source.test]
    description = {
        "data": {
            "batches": asdict(data.batches),
            "classes": len(data.few_shot.classes),
            "seed": data.seed,
            "shots": data.shots,
            "source": hashlib.sha256(repr((data.few_shot.classes, chosen, tested)).encode()).hexdigest()[:16],
            "synthetic": synthetic,
            "synthetic_filter": data.synthetic_filter,
        },
        "model": model.description,
        "seed_everything": torch.initial_seed(),
        "trainer": {
            "max_steps": trainer.max_steps,
            "precision": trainer.precision,
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "gradient_clip_val": trainer.gradient_clip_val,
            "gradient_clip_algorithm": trainer.gradient_clip_algorithm,
        },
        **more,
    }
    found: dict[str, Any] = json.loads(json.dumps(description, default=str))  # tuples become lists
    return found
