"""One classifier, trained and tested once: what `classify fit` does, and every cell of a study."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L

from augment.errors import UserError
from classify.classifier import Classifier
from classify.data import ClassificationData


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
