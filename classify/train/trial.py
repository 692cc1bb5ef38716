"""How is a classifier trained and tested? Once, with the test images sealed until then."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
from PIL import Image

from augment.errors import UserError
from augment.images.few_shot import FewShotSet
from augment.images.sources import ImageSource
from classify.train.classifier import Classifier
from classify.train.data import ClassificationData


@dataclass(frozen=True)
class Fitted:
    """What a trained classifier scored, and how long that took."""

    results: dict[str, Any]
    seconds: dict[str, float]


def fit_and_test(model: Classifier, data: ClassificationData, trainer: L.Trainer, tested: bool = True) -> Fitted:
    """Train for the trainer's fixed number of steps, then test the last weights once, or not at all.

    The test images are sealed until the training is over; look at what is wrong with them before by
    `check_test_images`.
    """
    data.normalise_with(*model.normalisation())
    begun = time.perf_counter()
    with data.sealed() as sealed:
        trainer.fit(model, datamodule=data)
        trained = time.perf_counter()
        if tested:
            with sealed.opened():
                trainer.test(model, datamodule=data, verbose=False)
    ended = time.perf_counter()
    seconds = {"train": trained - begun} | ({"test": ended - trained} if tested else {})
    filtered = {} if data.filtered is None else {"filter": asdict(data.filtered)}
    return Fitted((model.results(data.few_shot.classes) if tested else {"per_class": {}}) | filtered, seconds)


def check_test_images(source: ImageSource, few_shot: Sequence[FewShotSet]) -> None:
    """Find what is wrong with the test images before any training is spent; nothing but the verdict comes out.

    Args:
        source: Its test images are decoded and hashed, each once.
        few_shot: All sets that will be trained on.

    Raises:
        UserError: If a test image cannot be read, or has the content of a few-shot image.
    """
    for _ in checked_test_images(source, few_shot):
        pass


def checked_test_images(source: ImageSource, few_shot: Sequence[FewShotSet]) -> Iterator[Image.Image]:
    """The test images, one at a time, each once nothing is wrong with it; for who compares them with others.

    Raises:
        UserError: As `check_test_images`.
    """
    chosen = {shot.sha256: shot.name for members in few_shot for shot in members.all}
    for item in source.test:
        try:
            image = source.image(item)
        except UserError as error:
            remedy = "no test image is ever passed over: replace it"
            raise UserError(f"test {error.argument}", error.problem, remedy) from error
        if (name := chosen.get(source.sha256(item))) is not None:
            raise UserError(f"test image '{item.name}'", f"is also the few-shot image '{name}'", "keep the two apart")
        yield image
