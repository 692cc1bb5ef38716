"""What tests of classifiers share: a small `classify fit`, images that can be told apart, and the calibration error."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import SIDE
from PIL import Image
from torch import Tensor


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean |accuracy - confidence| of the bins of confidence, weighted by their images (Guo et al. 2017, Eq. 3)."""
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
    number = np.ceil(confidence * bins)
    parts = [number == n for n in np.unique(number)]
    return sum(part.mean() * abs(hit[part].mean() - confidence[part].mean()) for part in parts)


def fit_args(output: Path, train: Path, test: Path, *more: str) -> list[str]:
    return [
        "fit",
        *("--output", str(output), "--model.name", "test_resnet", "--model.warmup_steps", "2"),
        *("--data.source", "augment.images.sources.ImageFolder", "--data.source.path", str(train)),
        *("--data.source.test_path", str(test), "--data.shots", "3"),
        *("--data.batches.image_size", str(SIDE), "--data.batches.batch_size", "6"),
        *("--trainer.max_steps", "8", "--trainer.accelerator", "cpu", "--trainer.logger", "false"),
        *("--trainer.enable_progress_bar", "false"),
        *more,
    ]


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


STILL: dict[str, Any] = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "hflip": 0.0, "color_jitter": 0.0}
"""Every image is cropped alike, so that it can be told from its pixels."""
