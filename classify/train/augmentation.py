"""Which classical augmentations meet a training image? timm's transforms one by one, Mixup and CutMix by batch."""

from collections.abc import Callable

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from timm.data import Mixup, create_transform
from torch import Tensor
from torchvision.transforms import Compose, TrivialAugmentWide

from augment.errors import UserError
from classify.train.batches import Batches

Transform = Callable[[Image.Image], Tensor]


def train_transform(batches: Batches, mean: tuple[float, ...]) -> Transform:
    """From an RGB image to uint8 [3, S, S]: crop, flip, and one of colour jitter, timm's policy or TrivialAugment.

    Values are scaled once a batch by `normalise`, which is several times cheaper than once an image.

    Raises:
        UserError: If timm does not know the policy.
    """
    policy = batches.auto_augment
    try:
        first, second, last = create_transform(
            batches.image_size,
            is_training=True,
            scale=batches.crop_scale,
            ratio=batches.crop_ratio,
            hflip=batches.hflip,
            # None, since a jitter of 0 costs as much as the flip. A policy takes its place, as in timm's recipes.
            color_jitter=None if batches.trivial_augment else batches.color_jitter or None,
            auto_augment=policy,
            interpolation="bicubic",
            mean=mean,
            use_prefetcher=True,
            separate=True,
        )
    except (AssertionError, KeyError, ValueError) as error:
        problem = f"timm cannot make '{policy}' ({str(error) or type(error).__name__})"
        raise UserError("batches.auto_augment", problem, "give a policy such as rand-m9-mstd0.5") from error
    middle = TrivialAugmentWide() if batches.trivial_augment else second
    return Compose([*first.transforms, middle, *last.transforms])


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """From uint8 to float32 with the mean and deviation that the network expects; [B, 3, H, W]."""
    shape = (1, 3, 1, 1)
    centre, scale = images.new_tensor(mean, dtype=torch.float32), images.new_tensor(std, dtype=torch.float32)
    return images.to(torch.float32).div_(255).sub_(centre.view(shape)).div_(scale.view(shape))


def mix(images: Tensor, targets: Tensor, mixup: float, cutmix: float, seed: list[int]) -> tuple[Tensor, Tensor]:
    """timm's Mixup or CutMix of a batch; where both are asked for, a coin decides, as in timm's recipes.

    timm draws from NumPy's global generator and mixes the n-th image with the n-th from the end. The generator is
    seeded here for each batch and then put back, so that the mixture depends on neither the loader's workers nor on
    what else draws numbers. The batch is shuffled first: its real images stand before its synthetic ones, and
    would otherwise meet no others.

    Args:
        images: [B, 3, H, W], B even; overwritten.
        targets: Class probabilities [B, num_classes].
        mixup: alpha of Mixup (Zhang et al.); 0 is none.
        cutmix: alpha of CutMix (Yun et al.); 0 is none.
        seed: Numbers that decide the draw.

    Returns:
        The mixed images, and their class probabilities.
    """
    count = len(images)
    # Mixed with the positions in the batch as classes, the targets become each image's shares: right for soft labels.
    mixer = Mixup(mixup, cutmix, label_smoothing=0.0, num_classes=count)
    with isolate_rng(include_cuda=False):
        np.random.seed(np.random.SeedSequence(seed).generate_state(1))
        order = torch.from_numpy(np.random.permutation(count)).to(images.device)
        mixed, shares = mixer(images[order], torch.arange(count, device=images.device))
    return mixed, shares @ targets[order]
