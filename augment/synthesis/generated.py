"""How do images leave the device? As bytes, on their way while the program works ahead; only a reader waits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.backbones.base import Precision
from augment.errors import UserError
from augment.images.pixels import to_uint8


def no_numbers(precision: Precision) -> UserError:
    """What to say when sampling gave NaN."""
    remedy = "use fp32 for `model.precision`"
    if precision == "fp32":
        remedy = "lower `model.guidance`, raise `model.steps`, or check the backbone's weights"
    return UserError("model.precision", f"sampling gave NaN in {precision}", remedy)


@dataclass(frozen=True)
class Generated:
    """A batch of images on its way from the device: the program works ahead, and only a reader waits.

    Attributes:
        pixels: Uint8 [B, H, W, 3] in host memory, complete once `ready` has come.
        finite: Whether the networks gave numbers.
        precision: What they computed in.
        ready: Set by the device; None where everything is done at once.
    """

    pixels: Tensor
    finite: Tensor
    precision: Precision
    ready: torch.cuda.Event | None

    def wait(self) -> Tensor:
        """The pixels [B, H, W, 3], once they have arrived.

        Raises:
            UserError: If the networks gave NaN.
        """
        if self.ready is not None:
            self.ready.synchronize()
        if not bool(self.finite):
            raise no_numbers(self.precision)
        return self.pixels


def to_host(images: Tensor, precision: Precision) -> Generated:
    """Images [B, 3, H, W] in [-1, 1] as bytes in host memory, without waiting for the device."""
    finite = torch.isfinite(images).all()
    pixels = to_uint8(images).permute(0, 2, 3, 1).contiguous()  # [B, H, W, 3]
    if images.device.type != "cuda":
        return Generated(pixels.cpu(), finite.cpu(), precision, None)
    on_host, flag = (torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in (pixels, finite))
    on_host.copy_(pixels, non_blocking=True)
    flag.copy_(finite, non_blocking=True)
    ready = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    ready.record()
    return Generated(on_host, flag, precision, ready)
