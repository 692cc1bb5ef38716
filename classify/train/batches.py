"""How are training batches put together? The settings, and what they imply."""

import math
from dataclasses import dataclass
from typing import Literal

from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt

from augment.errors import UserError
from augment.runtime.numbers import NonNegativeNumber, PositiveNumber


@dataclass(frozen=True)
class Batches:
    """How training batches are put together.

    Args:
        batch_size: Images per optimizer step, real and synthetic together, over all processes.
        synthetic_fraction: Share of the training images that is synthetic, where there is a synthetic set; a ratio of
            r synthetic images to one real is r / (1 + r).
        synthetic_use: How the synthetic images come into the batches. `batch`: each batch has exactly that share.
            `replace`: each drawn real image is replaced with that probability by a synthetic one made from it, or else
            of its class (DA-Fusion). `pool`: real and synthetic images are shuffled together, each real one once a
            pass.
        synthetic_smoothing: Label smoothing of synthetic images alone; the classifier's own comes on top.
        image_size: Height and width the classifier sees.
        crop_scale: timm's random resized crop takes a share of the area in this range.
        crop_ratio: timm's random resized crop has an aspect ratio in this range.
        hflip: Each image is flipped horizontally with this probability.
        color_jitter: Strength of timm's colour jitter; a policy takes its place.
        auto_augment: timm's policy string, such as `rand-m9-mstd0.5` for RandAugment; null is none.
        trivial_augment: Take TrivialAugment (torchvision's wide one) as the policy.
        mixup: alpha of timm's Mixup, over real and synthetic images alike; 0 is none.
        cutmix: alpha of timm's CutMix; 0 is none. With Mixup too, each batch gets one of the two.
        workers: This many processes load images; 0 loads them where the training runs.
        cache_gib: Real and synthetic images are held in memory, decoded, if they need less than this, each. Above it
            real images are decoded when drawn, and synthetic ones are streamed (with `replace`: read when drawn).
            Images at least twice as large as the smallest crop needs are reduced by a whole factor either way.
    """

    batch_size: PositiveInt = 64
    synthetic_fraction: ClosedUnitInterval = 0.5
    synthetic_use: Literal["batch", "replace", "pool"] = "batch"
    synthetic_smoothing: ClosedUnitInterval = 0.0
    image_size: PositiveInt = 224
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    hflip: ClosedUnitInterval = 0.5
    color_jitter: ClosedUnitInterval = 0.4
    auto_augment: str | None = None
    trivial_augment: bool = False
    mixup: NonNegativeNumber = 0.0
    cutmix: NonNegativeNumber = 0.0
    workers: NonNegativeInt = 0
    cache_gib: PositiveNumber = 2.0

    @property
    def synthetic_count(self) -> int:
        """Synthetic images per batch."""
        return round(int(self.batch_size) * float(self.synthetic_fraction))

    def pooled_count(self, real: int) -> int:
        """Synthetic images in a pool with `real` real ones.

        Raises:
            UserError: If the fraction is too small for any.
        """
        count = round(real * self.synthetic_fraction / (1 - self.synthetic_fraction))
        if count == 0 < self.synthetic_fraction:
            problem = f"{self.synthetic_fraction} of a pool with {real} real images is no synthetic image"
            raise UserError("batches.synthetic_fraction", problem, "raise it")
        return count

    @property
    def useful_side(self) -> int:
        """Short side of an image whose smallest random crop still has `image_size` pixels each way."""
        narrowest = min(self.crop_ratio[0], 1 / self.crop_ratio[1])
        return math.ceil(self.image_size / math.sqrt(self.crop_scale[0] * narrowest))

    def check(self, synthetic: bool, processes: int) -> None:
        """Refuse settings that contradict each other or would quietly do nothing.

        Args:
            synthetic: Whether there is a synthetic set.
            processes: That share a batch.

        Raises:
            UserError: If one does.
        """
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            problem = f"{list(self.crop_scale)} must rise, above 0 and up to 1"
            raise UserError("batches.crop_scale", problem, "give the smallest share of the area first")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1] < math.inf:
            problem = f"{list(self.crop_ratio)} must rise, above 0"
            raise UserError("batches.crop_ratio", problem, "give the smallest aspect ratio first")
        share, rest = divmod(self.batch_size, processes)
        if rest:
            problem = f"{self.batch_size} images cannot be shared by {processes} processes"
            raise UserError("batches.batch_size", problem, "choose a multiple")
        if (self.mixup or self.cutmix) and share % 2:
            problem = f"Mixup and CutMix need an even number per process, not {share}"
            raise UserError("batches.batch_size", problem, "choose another number")
        if self.trivial_augment and self.auto_augment is not None:
            problem = f"not together with auto_augment '{self.auto_augment}'"
            raise UserError("batches.trivial_augment", problem, "choose one policy")
        if not synthetic:
            return
        if self.synthetic_use == "batch":
            made = self.synthetic_count
            if made in {0, self.batch_size} and 0 < self.synthetic_fraction < 1:
                problem = f"{self.synthetic_fraction} of {self.batch_size} images is {made}"
                remedy = "raise `batches.batch_size` or choose another fraction"
                raise UserError("batches.synthetic_fraction", problem, remedy)
            if made % processes:
                problem = f"{made} synthetic images of a batch cannot be shared by {processes} processes"
                remedy = "choose another fraction or `batches.batch_size`"
                raise UserError("batches.synthetic_fraction", problem, remedy)
        elif self.synthetic_use == "pool" and self.synthetic_fraction == 1:
            problem, remedy = "1 leaves no real image in the pool", "set `batches.synthetic_use` to batch"
            raise UserError("batches.synthetic_fraction", problem, remedy)
