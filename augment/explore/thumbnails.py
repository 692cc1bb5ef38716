"""How are very many pictures put on one page? Small, as WebP, a data address each; made by threads, in order."""

import base64
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from PIL import Image, ImageOps

SIDES = (256, 192, 128, 96, 64, 48)
"""Sides of thumbnails, in pixels."""
MOST_PIXELS = 240_000_000
"""Of all thumbnails of a page together: a quarter of a byte each leaves a page that a browser opens in seconds."""
QUALITY, EFFORT, GROUP = 75, 2, 64

T = TypeVar("T")


def thumbnail_side(images: int, resolution: int) -> int:
    """The largest side at which so many images fit on a page, and at most the images' own."""
    fitting = (side for side in SIDES if images * min(side, resolution) ** 2 <= MOST_PIXELS)
    return min(next(fitting, SIDES[-1]), resolution)


def thumbnail(image: Image.Image, side: int) -> str:
    """The centre of the image at this size, as WebP in Base64."""
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=EFFORT)
    return base64.b64encode(buffer.getvalue()).decode()


def with_thumbnails(
    items: Iterable[T], load: Callable[[T], Image.Image], side: int
) -> Iterator[tuple[Image.Image, str]]:
    """Each item's image and its thumbnail, in order, a group at a time: memory does not grow with their number."""

    def both(item: T) -> tuple[Image.Image, str]:
        image = load(item)
        return image, thumbnail(image, side)

    stream = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while group := list(islice(stream, GROUP)):
            yield from pool.map(both, group)
