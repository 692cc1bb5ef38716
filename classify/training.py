"""One classifier, trained and tested once: what `classify fit` does, and every cell of a study."""

import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from augment.data import ImageSource
from augment.errors import UserError
from classify.classifier import Classifier
from classify.data import ClassificationData
from classify.metrics import FrechetDistance
from classify.synthetic import read_synthetic


@dataclass(frozen=True)
class Fitted:
    """What a trained classifier scored, and how long that took."""

    results: dict[str, Any]
    seconds: dict[str, float]


def fit_and_test(model: Classifier, data: ClassificationData, trainer: L.Trainer) -> Fitted:
    """Train for the trainer's fixed number of steps, then test the last weights once.

    Raises:
        UserError: Before any training, if a test image is broken, or is one of the few-shot images.
    """
    check_test_images(data)
    data.mean, data.std = model.normalisation()
    begun = time.perf_counter()
    trainer.fit(model, datamodule=data)
    trained = time.perf_counter()
    trainer.test(model, datamodule=data, verbose=False)
    tested = time.perf_counter()
    seconds = {"train": trained - begun, "test": tested - trained}
    filtered = {} if data.filtered is None else {"filter": asdict(data.filtered)}
    return Fitted(model.results(data.few_shot.classes) | filtered, seconds)


def check_test_images(data: ClassificationData) -> None:
    """Find what is wrong with the test images before the training is spent; their content chooses nothing.

    Raises:
        UserError: If one cannot be read, or has the content of a few-shot image.
    """
    chosen = {shot.sha256: shot.name for shot in data.few_shot.all}
    for item in data.source.test:
        data.source.image(item)
        if (name := chosen.get(data.source.sha256(item))) is not None:
            raise UserError(f"test image '{item.name}' is also the few-shot image '{name}'; keep the two apart")


def reference_distance(
    extractor: str,
    weights: str | None,
    source: ImageSource,
    image_size: int,
    skip_bad: bool = False,
    classes: Collection[str] | None = None,
) -> FrechetDistance:
    """The Fréchet distance to a source's pool; it never chooses anything.

    Args:
        extractor: See `FrechetDistance`.
        weights: Local Inception weights.
        source: Whose pool is the real reference set: by default what the few-shot set was drawn from.
        image_size: Images are cropped and resized to this.
        skip_bad: Pass over images that cannot be read.
        classes: Those of the synthetic set; None takes all.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    distance = FrechetDistance(extractor, weights, image_size, device)
    chosen = [item for item in source.pool if classes is None or source.classes[item.label] in classes]
    distance.set_real(source.readable(chosen, skip_bad))
    return distance


def synthetic_distance(distance: FrechetDistance, folder: Path) -> float:
    """Distance of a synthetic dataset to the reference."""
    return distance.to_synthetic(image for image, _ in read_synthetic(folder))
