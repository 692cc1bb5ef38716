"""What a diffusion model is trained on: all images of a source's pool, without their labels."""

from functools import cached_property
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.errors import UserError
from augment.images.pixels import to_float, to_tensor, to_uint8
from augment.images.sources import ImageSource
from augment.pretrain.batches import NumberedBatches
from augment.runtime.numbers import NonNegativeNumber


class PretrainData(L.LightningDataModule):
    """All images of a source's pool, held in memory (3 bytes per pixel).

    Args:
        source: Where the images come from; its test images are for the model card alone.
        batch_size: Images in an optimizer step, over all processes.
        image_size: Height and width of the images in pixels; set from the model.
        jitter: Largest random rotation (in degrees / 100), shift and zoom (as shares of the image); 0 trains on the
            images as they are.
        skip_bad: Pass over images that cannot be read, instead of stopping.
    """

    def __init__(
        self,
        source: ImageSource,
        batch_size: PositiveInt = 64,
        image_size: PositiveInt = 32,
        jitter: NonNegativeNumber = 0.0,
        skip_bad: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        self.batch_size = batch_size
        self.image_size = image_size
        self.jitter = jitter
        self.skip_bad = skip_bad

    @cached_property
    def images(self) -> Tensor:
        """The training images, uint8 [M, 3, H, W]."""
        return torch.stack(
            [
                to_uint8(to_tensor(image, self.image_size))
                for image in self.source.readable(self.source.pool, self.skip_bad)
            ]
        )

    def train_dataloader(self) -> NumberedBatches:
        """Shuffled batches, one share of `batch_size` per process; torch's seed decides them.

        Raises:
            UserError: If the batch cannot be shared, or is more than there are images.
        """
        rank, processes = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        if self.batch_size % processes:
            raise UserError(
                "data.batch_size",
                f"{self.batch_size} images cannot be shared by {processes} processes",
                "choose a multiple",
            )
        if len(self.images) < self.batch_size:
            raise UserError(
                "data.batch_size", f"{self.batch_size} is more than the {len(self.images)} images", "lower it"
            )
        return NumberedBatches(self.images, self.batch_size, torch.initial_seed(), rank, processes)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Tensor:
        """From bytes to images [B, 3, H, W] in [-1, 1], moved at random, on the training's device.

        All random numbers that are drawn until the next batch follow from this one's seed.
        """
        pixels, seed = batch
        torch.manual_seed(seed)
        images = to_float(pixels)
        return jitter(images, self.jitter) if self.jitter else images


def jitter(images: Tensor, amount: float) -> Tensor:
    """Rotate (up to 100 * amount degrees), shift and zoom (up to the fraction `amount`) each image at random."""
    count = len(images)
    angle, shift_x, shift_y, zoom = (torch.rand(4, count, device=images.device) * 2 - 1) * amount
    angle = torch.deg2rad(angle * 100)
    scale = 1 + zoom
    rows = [
        torch.stack([scale * angle.cos(), -scale * angle.sin(), 2 * shift_x], dim=1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), 2 * shift_y], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)  # [B, H, W, 2]
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
