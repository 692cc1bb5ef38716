"""How is any image file opened, and made RGB? The one place where that is decided."""

import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image


def open_image(
    file: Path | IO[bytes], convert: Callable[[Image.Image], Image.Image], formats: Collection[str] | None = None
) -> Image.Image:
    """Read an image file that may hold anything.

    Args:
        file: Of any content.
        convert: What is wanted of the decoded image, such as `to_rgb`.
        formats: Pillow's names of the only formats to be tried; None tries all but EPS, whose reader runs Ghostscript.

    Raises:
        ValueError: Saying why it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # A large photograph is no bomb; one of twice that size is, and raises.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=None if formats is None else list(formats)) as image:
                if image.format == "EPS":
                    raise ValueError("EPS is a program")
                image.load()
                return convert(image)
    except Exception as error:  # which one a broken file raises depends on which of Pillow's forty readers takes it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(reason[0]) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB: 16-bit grey is scaled to 8 bit, transparency is laid on white."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        if image.mode.startswith("I;16") or values.max(initial=0) > 255:
            values = values / 257  # 65535 / 255: the whole 16-bit range onto the 8-bit one
        image = Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
    if image.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")
