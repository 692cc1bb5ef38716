"""Which noise is added to a few-shot image? The only place that draws random numbers for a real image.

A latent lies in the bank for every few-shot set that holds its image, whatever the seed, the class's number or the
batch. So its noise is a function of the image's content and the number of the draw, and of nothing else. The random
numbers of a synthetic image are drawn in `augment/mix/draws.py`: they follow from (seed, class, index), none of which a
latent has.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def image_noise(sha256: str, draw: int, shape: Sequence[int]) -> Tensor:
    """Standard normal noise [C, h, w], float32, made in host memory so that it is the same for every device.

    Args:
        sha256: Of the image's file, in hexadecimal digits.
        draw: Number of the image's latent, from 0 on.
        shape: (C, h, w).
    """
    stream = np.random.SeedSequence(int(sha256, 16), spawn_key=(draw,))
    seed = int(stream.generate_state(1, np.uint64)[0] >> 1)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
