"""How far are images from each other? Features of one extractor, and the distances between sets of them."""

import torch
from torch import Tensor

from augment.images.pixels import to_uint8

BATCH = 64


class Extractor:
    """An image classifier's features.

    Args:
        name: `inception`, `digits` for the embedded classifier, or a timm model such as a CLIP tower.
        weights: Local Inception weights, for `inception` without a download.
        image_size: Of the images.
        device: Where to run.

    Raises:
        UserError: If its weights cannot be had.
    """

    def __init__(self, name: str, weights: str | None, image_size: int, device: torch.device) -> None:
        # The classifier's package knows the extractors; a figure that asks for none runs without it.
        from augment.measure.extractor import Extractor as Pretrained
        from augment.measure.metrics import frechet_name

        pretrained = Pretrained(name, weights, image_size, device)
        self.name = pretrained.name
        self.distance_name = frechet_name(pretrained.name)
        self.network = pretrained.network
        self.device = device

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to features, float32 [B, D]."""
        pixels = to_uint8(images)
        parts = [self.network(part.to(self.device)).float().cpu() for part in torch.split(pixels, BATCH)]
        return torch.cat(parts)


def frechet_distance(real: Tensor, made: Tensor) -> float:
    """The Fréchet distance between two sets of features [B, D]."""
    from augment.measure.metrics import frechet_distance as distance

    return distance(real, made)


def cosine_distance(centre: Tensor, made: Tensor) -> float:
    """Mean cosine distance of features [B, D] from the mean of the real ones [D] (Landolsi & Kahl, Section 6)."""
    return float(1 - torch.cosine_similarity(made, centre[None]).mean())
