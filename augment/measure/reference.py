"""What is a synthetic dataset compared with? Real images' features, computed once for any number of datasets."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from augment.dataset.manifest import read_manifest
from augment.dataset.reader import read_images
from augment.images.few_shot import FewShotSet
from augment.images.sources import ImageSource
from augment.measure.extractor import Extractor
from augment.measure.features import Features, image_features, source_features
from augment.measure.metrics import Measured, check_classes, frechet_name, measure


@dataclass(frozen=True)
class Reference:
    """An extractor and the features of the real images."""

    extractor: Extractor
    real: Features

    @property
    def name(self) -> str:
        """Name of the Fréchet distance among the metrics."""
        return frechet_name(self.extractor.name)

    def measure(self, folder: Path, source: ImageSource, few_shot: FewShotSet) -> Measured:
        """All metrics of a synthetic dataset.

        Args:
            folder: The dataset.
            source: Where the few-shot set's images are.
            few_shot: What the dataset was made from.

        Raises:
            UserError: If the dataset has a class that the reference lacks, or too few images.
        """
        classes = read_manifest(folder)["classes"]
        synthetic = image_features(self.extractor, ((image, classes[n]) for image, n in read_images(folder)))
        shots = [shot for shot in few_shot.all if source.classes[shot.label] in synthetic.classes]
        return measure(self.real, synthetic, source_features(self.extractor, source, shots) if shots else None)


def make_reference(
    extractor: str,
    weights: str | None,
    source: ImageSource,
    image_size: int,
    skip_bad: bool = False,
    classes: Collection[str] | None = None,
    cache: Path | None = None,
) -> Reference:
    """The features of a source's pool; they never choose anything.

    Args:
        extractor: See `Extractor`.
        weights: Local file of the extractor's weights.
        source: Whose pool is the real reference set: by default what the few-shot set was drawn from.
        image_size: Images are cropped and resized to this.
        skip_bad: Pass over images that cannot be read.
        classes: Those of the synthetic set; None takes all.
        cache: Folder where the features are kept.

    Raises:
        UserError: If the extractor cannot be had, the pool lacks one of the classes, or an image cannot be read.
    """
    return reference_of(make_extractor(extractor, weights, image_size), source, skip_bad, classes, cache)


def make_extractor(extractor: str, weights: str | None, image_size: int) -> Extractor:
    """The network alone, on the device where features are computed; see `make_reference`.

    Raises:
        UserError: If it cannot be had.
    """
    return Extractor(extractor, weights, image_size, "cuda" if torch.cuda.is_available() else "cpu")


def reference_of(
    extractor: Extractor,
    source: ImageSource,
    skip_bad: bool = False,
    classes: Collection[str] | None = None,
    cache: Path | None = None,
) -> Reference:
    """The features of a source's pool, of an extractor that is there; see `make_reference`."""
    chosen = [item for item in source.pool if classes is None or source.classes[item.label] in classes]
    check_classes({source.classes[item.label] for item in chosen}, classes or ())
    return Reference(extractor, source_features(extractor, source, chosen, skip_bad, cache))
