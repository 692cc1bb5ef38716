"""One classifier, trained and tested once: what `classify fit` does, and every cell of a study."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from augment.data import ImageSource
from classify.classifier import Classifier
from classify.data import ClassificationData, read_synthetic
from classify.metrics import FrechetDistance


@dataclass(frozen=True)
class Fitted:
    """What a trained classifier scored, and how long that took."""

    results: dict[str, Any]
    seconds: dict[str, float]


def fit_and_test(model: Classifier, data: ClassificationData, trainer: L.Trainer) -> Fitted:
    """Train for the trainer's fixed number of steps, then test the last weights once."""
    begun = time.perf_counter()
    trainer.fit(model, datamodule=data)
    trained = time.perf_counter()
    trainer.test(model, datamodule=data, verbose=False)
    tested = time.perf_counter()
    seconds = {"train": trained - begun, "test": tested - trained}
    return Fitted(model.results(data.few_shot.classes), seconds)


def reference_distance(extractor: str, weights: str | None, source: ImageSource, image_size: int) -> FrechetDistance:
    """The Fréchet distance to the images that few-shot sets are drawn from; it never chooses anything."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    distance = FrechetDistance(extractor, weights, image_size, device)
    distance.set_real(source.image(item) for item in source.pool)
    return distance


def synthetic_distance(distance: FrechetDistance, folder: Path) -> float:
    """Distance of a synthetic dataset to the reference."""
    return distance.to_synthetic(image for image, _ in read_synthetic(folder))
