"""Can the class of an image still be told? By the nearest class mean in an extractor's features."""

from collections.abc import Iterable
from itertools import islice

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from classify.metrics import FrechetDistance

BATCH = 64

Labelled = Iterable[tuple[Image.Image, int]]


class Recogniser:
    """Knows the classes by the mean features of real images.

    Args:
        distance: Whose extractor and image size are used.
        real: Real images with their labels.
    """

    def __init__(self, distance: FrechetDistance, real: Labelled) -> None:
        self.distance = distance
        features, labels = self._features(real)
        self.labels = torch.unique(labels)  # [K]
        self.means = torch.stack([features[labels == label].mean(dim=0) for label in self.labels])  # [K, D]

    def share(self, images: Labelled) -> float:
        """Share of the images that lie nearest to the mean of their own class."""
        features, labels = self._features(images)
        nearest = self.labels[torch.cdist(features, self.means).argmin(dim=1)]
        return float((nearest == labels).float().mean())

    @torch.inference_mode()
    def _features(self, images: Labelled) -> tuple[Tensor, Tensor]:
        """Features [M, D] and labels [M], on the host."""
        network, size = self.distance.metric.inception, (self.distance.image_size, self.distance.image_size)
        parts, labels, stream = [], [], iter(images)
        while group := list(islice(stream, BATCH)):
            fitted = [ImageOps.fit(image.convert("RGB"), size, Image.Resampling.BICUBIC) for image, _ in group]
            pixels = torch.stack([pil_to_tensor(image) for image in fitted])  # uint8 [B, 3, H, W]
            parts.append(network(pixels.to(self.distance.metric.device)).float().cpu())
            labels += [label for _, label in group]
        return torch.cat(parts), torch.tensor(labels)
