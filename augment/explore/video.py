"""How does a sequence of images become a film? GIF by Pillow, MP4 (H.264) by PyAV."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from augment.images.pixels import to_uint8

SMALLEST = 256
"""Height of a film, in pixels, unless the images are larger."""


def frames_of(images: Tensor) -> Tensor:
    """Images [F, 3, H, W] in [-1, 1] as frames uint8 [F, h, w, 3] of even height and width, enlarged if small.

    H.264 with the usual chroma halves both sides, so they are even.
    """
    height = images.shape[-2]
    factor = max(1, -(-SMALLEST // height))
    factor += factor % 2 if height % 2 or images.shape[-1] % 2 else 0
    pixels = to_uint8(images).permute(0, 2, 3, 1)
    return pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2).contiguous()


def write_gif(path: Path, frames: Tensor, rate: int) -> None:
    """Frames uint8 [F, h, w, 3] as a GIF that repeats for ever."""
    first, *rest = (Image.fromarray(frame.numpy()) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / rate), loop=0)


def write_mp4(path: Path, frames: Tensor, rate: int) -> None:
    """Frames uint8 [F, h, w, 3] as an H.264 film that every browser plays."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in torch.unbind(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")))
        container.mux(stream.encode())
