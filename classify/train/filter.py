"""Which synthetic images show their class? Those that an extractor recognises; the others may be dropped."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import timm
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor

from augment.errors import UserError
from augment.measure.extractor import ALIASES, EMBEDDED, LOADING_ERRORS, TimmFeatures, check_folder
from augment.runtime.network import one_try
from classify.train.order import Example

BATCH = 64


@dataclass(frozen=True)
class Filtered:
    """What a filter did.

    Args:
        extractor: As the user named it.
        by: Whether the extractor's own head decided, or the nearest class mean of the real images' features.
        kept: Number of synthetic images left.
        dropped: Number of those dropped, by class name.
    """

    extractor: str
    by: Literal["head", "nearest class mean"]
    kept: int
    dropped: dict[str, int]


def keep_recognised(
    synthetic: Sequence[Example], real: Sequence[Example], classes: tuple[str, ...], extractor: str
) -> tuple[tuple[Example, ...], Filtered]:
    """Drop the synthetic images whose class the extractor does not recognise.

    A classifier with these very class names (`label_names` of its timm config) decides by its head; any other
    extractor by the nearest class mean of the real images, in cosine distance. An image with a soft label is
    recognised as any class of that label. A classifier that saw more labelled images than the few-shot set brings
    their knowledge into the comparison.

    Args:
        synthetic: The images to choose from.
        real: The few-shot set.
        classes: Names of the classes.
        extractor: `digits`, a timm model, or `local-dir:FOLDER`.

    Returns:
        The images that are kept, and the account of it.

    Raises:
        UserError: If the extractor cannot be loaded, or recognises no image at all.
    """
    classify, by = make_recogniser(extractor, real, classes)
    seen = classify(synthetic)
    kept = tuple(e for e, label in zip(synthetic, seen, strict=True) if label in dict(e.soft or ((e.label, 1.0),)))
    if not kept:
        problem = f"'{extractor}' recognises none of {len(synthetic)} synthetic images"
        raise UserError("synthetic_filter", problem, "choose another extractor or none")
    names = {example.name for example in kept}
    lost = Counter(example.label for example in synthetic if example.name not in names)
    dropped = {name: lost[label] for label, name in enumerate(classes)}
    return kept, Filtered(extractor, by, len(kept), dropped)


def make_recogniser(
    extractor: str, real: Sequence[Example], classes: tuple[str, ...]
) -> tuple[Callable[[Sequence[Example]], list[int]], Literal["head", "nearest class mean"]]:
    """The function that names the class of each image, and what it decides by."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, features = load_filter(extractor)
    network, features = network.to(device), features.to(device)
    if tuple(network.pretrained_cfg.get("label_names") or ()) == classes:
        head = network.get_classifier()
        return lambda examples: head(embed(features, examples)).argmax(1).tolist(), "head"
    means = class_means(embed(features, real), torch.tensor([e.label for e in real], device=device), len(classes))
    return lambda examples: (F.normalize(embed(features, examples)) @ means.T).argmax(1).tolist(), "nearest class mean"


def load_filter(extractor: str) -> tuple[Any, TimmFeatures]:
    """The extractor as timm's model, with its head, and as features.

    Raises:
        UserError: If the weights cannot be had.
    """
    embedded = EMBEDDED / extractor
    name = f"local-dir:{embedded}" if embedded.is_dir() else ALIASES.get(extractor, extractor)
    check_folder(name, "synthetic_filter")
    try:
        with one_try():
            network = timm.create_model(name, pretrained=True).eval().requires_grad_(False)
        return network, TimmFeatures(name)
    except LOADING_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        problem = f"'{extractor}' cannot be loaded ({reason})"
        raise UserError("synthetic_filter", problem, "offline use digits or local-dir:FOLDER") from error


def class_means(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Unit vectors [num_classes, D] towards the mean of each class's unit features [M, D]."""
    sums = torch.zeros(num_classes, features.shape[1], device=features.device)
    return F.normalize(sums.index_add_(0, labels, F.normalize(features)))


@torch.inference_mode()
def embed(features: TimmFeatures, examples: Sequence[Example]) -> Tensor:
    """Features [M, D] of the examples, cropped to the shape that the extractor sees."""
    height, width = features.size
    device = features.mean.device

    def pixels(example: Example) -> Tensor:
        image = example.image()
        side = min(image.size)
        square = image if image.size == (side, side) else ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
        return pil_to_tensor(square.resize((width, height), Image.Resampling.BICUBIC))

    stream = iter(examples)
    rows = []
    while group := list(islice(stream, BATCH)):
        rows.append(features(torch.stack([pixels(example) for example in group]).to(device)))
    return torch.cat(rows)
