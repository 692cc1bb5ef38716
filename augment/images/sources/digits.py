"""How do the embedded digits become a source? scikit-learn's, cut once into three parts."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from PIL import Image

from augment.images.sources.base import ImageSource, Item, Split


class Digits(ImageSource):
    """scikit-learn's 1,797 handwritten digits at 32×32, cut once into three parts that share no image.

    The images are ordered by the hash of their pixels: the first 500 are the test split, the next 400
    the few-shot pool, and the other 897 the backbone pool, on which the embedded models were trained.

    Args:
        part: Which part is the pool that few-shot sets are chosen from.
    """

    TEST, FEW_SHOT = 500, 400

    def __init__(self, part: Literal["few-shot", "backbone"] = "few-shot") -> None:
        self.part = part

    @cached_property
    def _pixels_and_labels(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target  # [1797, 8, 8]

    @cached_property
    def _order(self) -> list[int]:
        pixels, _ = self._pixels_and_labels
        return sorted(range(len(pixels)), key=lambda n: hashlib.sha256(pixels[n].tobytes()).digest())

    def _items(self, numbers: Sequence[int], split: Split) -> tuple[Item, ...]:
        _, labels = self._pixels_and_labels
        return tuple(Item(f"digit-{n:04d}", int(labels[n]), split) for n in sorted(numbers))

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten digits, as words that a prompt can hold."""
        return ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    @property
    def pool(self) -> tuple[Item, ...]:
        """The few-shot pool or the backbone pool, by `part`."""
        cut = self.TEST + self.FEW_SHOT
        return self._items(self._order[self.TEST : cut] if self.part == "few-shot" else self._order[cut:], "pool")

    @property
    def test(self) -> tuple[Item, ...]:
        """The 500 test images."""
        return self._items(self._order[: self.TEST], "test")

    def content(self, item: Item) -> bytes:
        """The 64 grey values."""
        pixels, _ = self._pixels_and_labels
        return bytes(pixels[int(item.name.removeprefix("digit-"))].tobytes())

    def image(self, item: Item) -> Image.Image:
        """The digit, enlarged from 8×8 to 32×32."""
        grey = Image.frombytes("L", (8, 8), self.content(item))
        return grey.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB")
