"""Which class does a classifier see? Probabilities from an extractor that was trained on these very classes."""

from pathlib import Path

import timm
import torch
from torch import Tensor

from augment.measure.extractor import EMBEDDED, LOADING_ERRORS, cannot_load
from augment.runtime.json_files import parse_object


def classifier_folder(extractor: str, classes: tuple[str, ...]) -> Path | None:
    """The folder of an extractor that is a classifier with these class names, in this order; None for any other.

    Args:
        extractor: See `Extractor`. Models with class names are the embedded ones and those that `classify fit` saved.
        classes: Names of the classes.
    """
    embedded = EMBEDDED / extractor
    folder = embedded if embedded.is_dir() else Path(extractor.removeprefix("local-dir:"))
    try:
        config = parse_object((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return folder if config.get("label_names") == list(classes) else None


@torch.inference_mode()
def class_probabilities(folder: Path, features: Tensor) -> Tensor:
    """Probability [n, classes] of each class.

    Args:
        folder: Of the classifier, in timm's format.
        features: What the same classifier pools before its head, [n, D].

    Raises:
        UserError: If the weights cannot be had.
    """
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except LOADING_ERRORS as error:
        raise cannot_load(str(folder), error) from error
    logits: Tensor = network.eval().get_classifier()(features)
    return logits.softmax(1)
