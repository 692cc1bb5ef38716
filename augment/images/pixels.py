"""How does an RGB image become a tensor, and a tensor bytes again? The one place where that is decided."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """Resize the short side to `size`, crop the centre, and scale to [-1, 1]: float32 [3, size, size]."""
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))  # [H, W, 3]
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] as a file would hold them: uint8, of the same shape."""
    return (images / 2 + 0.5).mul(255).round().clamp(0, 255).to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """Images [B, 3, H, W] from uint8 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1
