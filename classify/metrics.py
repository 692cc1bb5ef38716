"""How far is the synthetic set from the real one? The Fréchet distance, named after its extractor.

Only the distance in Inception-v3's pool3 features (2048) is called `fid`; with any other extractor it is
`fd_<extractor>`.
"""

import pickle
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import timm
import torch
from PIL import Image, ImageOps
from timm.data import resolve_data_config
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.transforms.functional import pil_to_tensor

from augment.errors import UserError

EMBEDDED = Path(__file__).parent / "assets"
MIN_SAMPLES = 2


class TimmFeatures(nn.Module):
    """Pooled features of a timm model, from uint8 images [B, 3, H, W] to [B, D].

    Args:
        name: timm's model name, or a folder in timm's format.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network = timm.create_model(name, pretrained=True, num_classes=0).eval().requires_grad_(False)
        config = resolve_data_config({}, model=self.network)
        self.size = config["input_size"][1:]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1))
        with torch.inference_mode():
            self.num_features = int(self(torch.zeros(1, 3, *self.size, dtype=torch.uint8)).shape[-1])

    def forward(self, images: Tensor) -> Tensor:
        """Resize, normalise and embed."""
        x = images.float() / 255
        if x.shape[-2:] != self.size:
            x = F.interpolate(x, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        features: Tensor = self.network((x - self.mean) / self.std)
        return features


class FrechetDistance:
    """The Fréchet distance under one extractor.

    Args:
        extractor: `inception` for FID, `digits` for the embedded digits classifier, or any timm model by name.
        weights: Local file of Inception weights, for `inception` without a download.
        image_size: All images are cropped and resized to this, as the backbone sees them.
        device: Where features are computed.

    Raises:
        UserError: If the extractor's weights cannot be had.
    """

    def __init__(
        self, extractor: str, weights: str | None, image_size: int, device: torch.device | str = "cpu"
    ) -> None:
        self.name = metric_name(extractor)
        self.image_size = image_size
        try:
            if extractor == "inception":
                if weights is not None:
                    torch.load(weights, weights_only=True)  # torch-fidelity would run a pickle's code
                self.metric = FrechetInceptionDistance(
                    2048, reset_real_features=False, feature_extractor_weights_path=weights
                )
            else:
                embedded = EMBEDDED / extractor
                name = f"local-dir:{embedded}" if embedded.is_dir() else extractor
                self.metric = FrechetInceptionDistance(TimmFeatures(name), reset_real_features=False)
        except (ModuleNotFoundError, RuntimeError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise UserError(
                f"extractor: '{extractor}' cannot be loaded ({str(error).strip().splitlines()[0]}); for FID install "
                f"chm-augment[fid] and be online once or give --extractor_weights, offline use --extractor digits "
                f"or a timm model at hand"
            ) from error
        self.metric.to(device)

    def set_real(self, images: Iterable[Image.Image]) -> None:
        """Take the real images; they are kept for any number of synthetic sets."""
        self._update(images, real=True)

    def to_synthetic(self, images: Iterable[Image.Image]) -> float:
        """Distance of a synthetic set from the real images."""
        self.metric.reset()
        self._update(images, real=False)
        counts = int(self.metric.real_features_num_samples), int(self.metric.fake_features_num_samples)
        if min(counts) < MIN_SAMPLES:
            raise UserError(f"{self.name}: needs two real and two synthetic images, got {counts[0]} and {counts[1]}")
        return float(self.metric.compute())

    @torch.inference_mode()
    def _update(self, images: Iterable[Image.Image], real: bool) -> None:
        size = (self.image_size, self.image_size)
        stream = (pil_to_tensor(ImageOps.fit(image, size, Image.Resampling.BICUBIC)) for image in images)
        while group := list(islice(stream, 64)):
            self.metric.update(torch.stack(group).to(self.metric.device), real=real)


def metric_name(extractor: str) -> str:
    """`fid` for Inception, `fd_<extractor>` for anything else."""
    return "fid" if extractor == "inception" else f"fd_{Path(extractor).name.removeprefix('local-dir:')}"
