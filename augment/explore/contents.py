"""What is on a dataset's page? Its real and synthetic images as columns of plain values, before any HTML."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from rich.progress import track

from augment.dataset.manifest import read_finished
from augment.dataset.reader import Stored, index_shard, load_image, unreadable
from augment.errors import UserError
from augment.explore.thumbnails import thumbnail, thumbnail_side, with_thumbnails
from augment.images.few_shot import Shot
from augment.images.sources import ImageSource
from augment.runtime.terminal import PlainConsole

SHOWN = {"class", "label", "index", "sources", "weights", "soft_labels", "soft_weights"}
"""Of a record, what has its own place on the page; the rest is listed where it differs from the dataset's settings."""

Labelled = Iterable[tuple[Image.Image, int]]


@dataclass(frozen=True)
class RealImage:
    """One few-shot image: its name, its class, and its thumbnail, or why there is none."""

    name: str
    label: int
    image: str | None
    missing: str = ""


@dataclass
class ClassImages:
    """The synthetic images of one class, a column for each of their properties.

    Attributes:
        index: Of each image within its class.
        image: Thumbnails.
        sources: Numbers of the few-shot images that an image was made from.
        weights: Of these sources.
        record: What else was noted when an image was made.
        distance: To the nearest few-shot image; empty if nothing was measured.
        nearest: Number of that image.
        probability: Of the own class; empty without a classifier.
        seen_as: Label of the most probable class.
    """

    label: int
    name: str
    index: list[int] = field(default_factory=list)
    image: list[str] = field(default_factory=list)
    sources: list[list[int]] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    record: list[dict[str, Any]] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    nearest: list[int] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    seen_as: list[int] = field(default_factory=list)


class Contents:
    """The images of a finished dataset folder, read once.

    Args:
        folder: Made by `synthesize`.
        source: Where its few-shot images are; None if nobody knows.
        per_class: The most synthetic images per class; None takes all. Each was drawn for itself, so the first ones
            are as good a sample as any.

    Raises:
        UserError: If the folder holds no finished dataset.
    """

    def __init__(self, folder: Path, source: ImageSource | None, per_class: int | None = None) -> None:
        self.manifest = read_finished(folder)
        self.names: tuple[str, ...] = tuple(self.manifest["classes"])
        self.shots = [Shot(shot["name"], shot["label"], sha256=shot["sha256"]) for shot in self.manifest["few_shot"]]
        shards = (index_shard(folder / name) for name in self.manifest["shards"])
        self.stored = [s for shard in shards for s in shard if per_class is None or s.record["index"] < per_class]
        self.total = sum(facts["samples"] for facts in self.manifest["shards"].values())
        self.resolution: int = self.manifest["config"]["resolution"]
        self.side = thumbnail_side(len(self.stored) + len(self.shots), self.resolution)
        self.source = source
        self.real: list[RealImage] = []
        self.classes = {label: ClassImages(label, name) for label, name in enumerate(self.names)}

    def read_real(self) -> Labelled:
        """Fill `real`; yields the few-shot images that are still there, and their numbers."""
        for number, shot in enumerate(self.shots):
            image = self._find(shot)
            thumb = thumbnail(image, self.side) if isinstance(image, Image.Image) else None
            missing = image if isinstance(image, str) else ""
            self.real.append(RealImage(shot.name, shot.label, thumb, missing))
            if isinstance(image, Image.Image):
                yield image, number

    def _find(self, shot: Shot) -> Image.Image | str:
        """A few-shot image, or what is wrong with it."""
        if self.source is None:
            return "not found"
        try:
            if self.source.sha256(shot) != shot.sha256:
                return "has changed since"
            return self.source.image(shot)
        except (UserError, OSError, ValueError):
            return "not found"

    def read_synthetic(self) -> Labelled:
        """Fill `classes`; yields the synthetic images, and their labels."""
        numbers = {(shot.label, shot.name): number for number, shot in enumerate(self.shots)}
        stored = progress(self.stored, "read images")
        made = with_thumbnails(stored, lambda sample: load_image(sample.image), self.side)
        for sample, (image, thumb) in zip(self.stored, made, strict=True):
            record = sample.record
            try:
                images, of = self.classes[record["label"]], record.get("soft_labels", [record["label"]])[0]
                images.sources.append([numbers[of, name] for name in record["sources"]])
                images.weights.append([round(weight, 4) for weight in record["weights"]])
                images.index.append(record["index"])
                images.record.append(self._particular(record))
            except (LookupError, TypeError, ValueError) as error:
                raise unreadable(sample.image.shard.name, error) from error
            images.image.append(thumb)
            yield image, record["label"]

    def _particular(self, record: dict[str, Any]) -> dict[str, Any]:
        """What is noted of this image and not of all."""
        common = self.manifest["config"]
        noted = {key: value for key, value in record.items() if key not in SHOWN and common.get(key) != value}
        if len(record.get("soft_labels", [])) > 1:
            pairs = zip(record["soft_labels"], record["soft_weights"], strict=True)
            noted["label"] = ", ".join(f"{self.names[label]} {weight:.0%}" for label, weight in pairs)
        return noted


def progress(stored: list[Stored], label: str) -> Iterable[Stored]:
    """The samples, with a bar while they are gone through."""
    console = PlainConsole(stderr=True)
    return track(stored, label, console=console, transient=True, disable=not console.is_terminal)
