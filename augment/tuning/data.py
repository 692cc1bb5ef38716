"""What a backbone is tuned on: the images of a few-shot set, drawn by chance."""

from collections.abc import Sequence
from functools import cached_property

import lightning as L
import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional

from augment.images.few_shot import FewShotSet, choose_few_shot_set
from augment.images.pixels import to_float, to_tensor, to_uint8
from augment.images.sources import ImageSource


class TuningData(L.LightningDataModule):
    """The images of a few-shot set, held in memory.

    Args:
        source: Where the real images come from; its test images are never looked at.
        shots: Real images per class that may be used.
        seed: Chooses them, as it does for every other command.
        classes: Tune on images of these classes only; null takes all.
        image_size: Height and width of the images in pixels; set from the backbone.
        skip_bad: Pass over images that cannot be read, instead of stopping.
    """

    def __init__(
        self,
        source: ImageSource,
        shots: PositiveInt = 5,
        seed: NonNegativeInt = 0,
        classes: list[str] | None = None,
        image_size: PositiveInt = 512,
        skip_bad: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.shots = shots
        self.seed = seed
        self.only = classes
        self.image_size = image_size
        self.skip_bad = skip_bad

    @cached_property
    def few_shot(self) -> FewShotSet:
        """The images that may be used."""
        return choose_few_shot_set(self.source, self.shots, self.seed, self.only, self.skip_bad)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that have images in the set."""
        return tuple(self.few_shot.classes[label] for label in self.few_shot.labels)

    @cached_property
    def labels(self) -> Tensor:
        """Of every image, its place among `classes` [M]."""
        places = {label: place for place, label in enumerate(self.few_shot.labels)}
        return torch.tensor([places[shot.label] for shot in self.few_shot.all])

    @cached_property
    def images(self) -> Tensor:
        """All images of the set, class by class, uint8 [M, 3, H, W]."""
        return torch.stack(
            [to_uint8(to_tensor(self.source.image(shot), self.image_size)) for shot in self.few_shot.all]
        )

    @property
    def hashes(self) -> dict[str, list[str]]:
        """Hashes of the images' files, by class."""
        few_shot = self.few_shot
        return {few_shot.classes[label]: [shot.sha256 for shot in few_shot.shots[label]] for label in few_shot.labels}

    def train_dataloader(self) -> DataLoader[int]:
        """Counts only: the training draws its images itself, by step, so that it can go on at any step."""
        return DataLoader(range(1 << 30), batch_size=None)  # type: ignore[arg-type]

    def pick(self, count: int, crop: float, flip: bool, generator: torch.Generator) -> tuple[Tensor, Sequence[int]]:
        """Some images at random.

        Args:
            count: How many, B.
            crop: Smallest share of a side that a random crop keeps; 1 crops nothing.
            flip: Mirror every other image.
            generator: Draws them.

        Returns:
            Images [B, 3, H, W] in [-1, 1], and the places of their classes.
        """
        chosen = torch.randint(0, len(self.images), (count,), generator=generator)
        images = torch.stack([moved(self.images[place], crop, flip, generator) for place in chosen.tolist()])
        return to_float(images), self.labels[chosen].tolist()


def moved(image: Tensor, crop: float, flip: bool, generator: torch.Generator) -> Tensor:
    """An image cropped to a square and scaled back, and mirrored, if it is to be: uint8 [3, H, H].

    Args:
        image: Uint8 [3, H, H].
        crop: Smallest share of a side that is kept; 1 crops nothing.
        flip: Whether half of all images are mirrored.
        generator: Draws.
    """
    size = image.shape[-1]
    if crop < 1:
        share, top, left = torch.rand(3, generator=generator).tolist()
        side = round(size * (crop + (1 - crop) * share))
        corner = [int(place * (size - side + 1)) for place in (top, left)]
        image = functional.resized_crop(image, *corner, side, side, [size, size])
    if flip and float(torch.rand((), generator=generator)) < 0.5:
        image = functional.horizontal_flip(image)
    return image
