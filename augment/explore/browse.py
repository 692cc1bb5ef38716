"""How is a dataset looked at? One page of HTML that needs nothing else: images, sources, weights and distances."""

from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import torch
from torch import Tensor

from augment.errors import UserError
from augment.explore.contents import ClassImages, Contents
from augment.images.sources import ImageSource
from augment.measure.extractor import Extractor
from augment.measure.metrics import nearest_neighbours
from augment.measure.recognition import class_probabilities, classifier_folder
from augment.runtime.files import write_text

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "browse.html"


def write_page(
    folder: Path,
    source: ImageSource | None,
    extractor: str = "auto",
    extractor_weights: str | None = None,
    per_class: int | None = None,
    device: torch.device | str = "cpu",
    output: Path | None = None,
) -> Path:
    """Write the page that shows a dataset.

    Args:
        folder: Made by `synthesize`.
        source: Where its few-shot images are; None if nobody knows, and then the page says so.
        extractor: What distances to the few-shot images are measured with; one that is a classifier of these classes
            also says how well they are recognised. `auto` is the embedded digits classifier for the digits, and `none`
            for anything else; with `none` nothing is measured.
        extractor_weights: Local file of the extractor's weights.
        per_class: The most synthetic images per class on the page; None shows all.
        device: Where features are computed.
        output: The page; by default `browse.html` in the dataset's folder.

    Returns:
        The page's path.

    Raises:
        UserError: If the folder holds no finished dataset, the extractor cannot be loaded, or the page cannot be
            written.
    """
    contents = Contents(folder, source, per_class)
    if extractor == "auto":
        extractor = "digits" if classifier_folder("digits", contents.names) else "none"
    if extractor == "none":
        deque(contents.read_real(), 0)
        deque(contents.read_synthetic(), 0)
    else:
        add_measures(contents, Extractor(extractor, extractor_weights, contents.resolution, device), extractor)
    path = folder / PAGE if output is None else output
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, render(contents, folder, extractor))
    except OSError as error:
        problem = f"'{path}' cannot be written ({error.strerror or error})"
        raise UserError("output", problem, "give another `output`") from error
    return path


def add_measures(contents: Contents, extractor: Extractor, name: str) -> None:
    """Read the images, and measure each synthetic one against the few-shot images that are still there."""
    real, numbers = extractor.embed(contents.read_real())
    features, labels = extractor.embed(contents.read_synthetic())
    of = torch.tensor(labels)
    nearest = nearest_neighbours(features, real) if numbers else None
    classifier = classifier_folder(name, contents.names)
    probability = None if classifier is None else class_probabilities(classifier, features)
    for label, images in contents.classes.items():
        rows = (of == label).nonzero()[:, 0]  # in the order in which they were read
        if nearest is not None:
            images.distance = rounded(nearest[0][rows])
            images.nearest = [numbers[n] for n in nearest[1][rows].tolist()]
        if probability is not None:
            images.probability = rounded(probability[rows, label])
            images.seen_as = probability[rows].argmax(1).tolist()


def rounded(values: Tensor) -> list[float]:
    """As many digits as a page needs."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def render(contents: Contents, folder: Path, extractor: str) -> str:
    """The page as HTML; every name in it is data and escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    classes = [images for images in contents.classes.values() if images.index]
    return environment.get_template("browse.html.jinja").render(
        name=folder.resolve().name,
        config=contents.manifest["config"],
        total=contents.total,
        shown=len(contents.stored),
        real=contents.real,
        missing=sum(image.image is None for image in contents.real),
        source_known=contents.source is not None,
        extractor=extractor,
        contents={
            "names": contents.names,
            "resolution": contents.resolution,
            "real": [asdict(image) for image in contents.real],
            "classes": [summary(images) for images in classes],
        },
        classes=[vars(images) for images in classes],
    )


def summary(images: ClassImages) -> dict[str, Any]:
    """What the page says of a class before its images are unpacked."""
    count = len(images.index)
    right = sum(label == images.label for label in images.seen_as)
    return {
        "label": images.label,
        "name": images.name,
        "count": count,
        "recognised": right / count if images.seen_as else None,
        "distance": float(torch.tensor(images.distance).median()) if images.distance else None,
    }
