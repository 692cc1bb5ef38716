import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from augment.images.near_duplicates import near_duplicates
from augment.images.sources import Digits


def scene(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Blobs and stripes on several scales, as a photo has them."""
    draws = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(draws.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(size, 3), dtype=float)
        for n in (3, 6, 12, 24)
    ]
    return Image.fromarray(np.average(layers, axis=0, weights=(4, 3, 2, 1)).astype(np.uint8))


def crop(image: Image.Image, share: float, x: float = 0.5, y: float = 0.5) -> Image.Image:
    width, height = (round(side * (1 - share)) for side in image.size)
    left, top = round((image.width - width) * x), round((image.height - height) * y)
    return image.crop((left, top, left + width, top + height))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=quality)
    return Image.open(stream)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "itself": lambda image: image,
    "encoded anew": lambda image: jpeg(image, 30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2)),
    "cropped by 5 %": lambda image: crop(image, 0.05),
    "a corner cropped": lambda image: crop(image, 0.05, 0, 1),
    "grey": lambda image: image.convert("L"),
    "encoded, cropped and made smaller": lambda image: jpeg(crop(image, 0.05).resize((48, 40)), 60),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_from_either_side(change: str) -> None:
    originals = [scene(seed) for seed in range(8)]
    copies = [CHANGES[change](image) for image in originals]
    for known, others in ((originals, copies), (copies, originals)):
        pairs = near_duplicates(known, [scene(99), *others]).pairs
        assert [(pair.known, pair.other) for pair in pairs] == [(n, n + 1) for n in range(8)]
        assert all(pair.distance == 0 for pair in pairs) or change != "itself"


def test_different_images_are_not_alike() -> None:
    assert near_duplicates([scene(n) for n in range(40)], (scene(n) for n in range(100, 200))).pairs == []


def test_different_digits_are_not_alike_and_copies_of_them_are() -> None:
    """The hash alone would report dozens: at 8x8 pixels many a one looks like another."""
    digits = Digits()
    known = [digits.image(item) for item in digits.pool[:100]]
    assert near_duplicates(known, (digits.image(item) for item in digits.test[:100])).pairs == []
    pairs = near_duplicates(known, [jpeg(image, 50) for image in known[:20]]).pairs
    assert [(pair.known, pair.other) for pair in pairs] == [(n, n) for n in range(20)]


def test_blank_images_are_counted_and_never_called_alike() -> None:
    blank = [Image.new("RGB", (32, 32), (value, value, value)) for value in (0, 128, 255)]
    noisy = Image.fromarray(np.random.default_rng(0).integers(127, 130, (32, 32, 3)).astype(np.uint8))
    found = near_duplicates([*blank, scene(0)], [blank[1], noisy, scene(0), blank[2]])
    assert found.flat == [0, 1, 3]
    assert [(pair.known, pair.other) for pair in found.pairs] == [(3, 2)]


def test_the_nearest_of_several_is_named() -> None:
    image = scene(5)
    (pair,) = near_duplicates([crop(image, 0.08), image], [image.copy()]).pairs
    assert (pair.known, pair.distance) == (1, 0)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8, 8)])
def test_images_of_any_size_are_taken(size: tuple[int, int]) -> None:
    found = near_duplicates([scene(0), scene(1, size)], [scene(2, size)])
    assert len(found.flat) + len(found.pairs) <= 1


def test_nothing_is_like_nothing() -> None:
    assert near_duplicates([], [scene(0)]).pairs == []
    assert near_duplicates([scene(0)], []).pairs == []


def test_images_of_the_second_list_are_taken_one_at_a_time() -> None:
    alive: list[int] = []

    def others() -> "object":
        for n in range(3):
            alive.append(n)
            yield scene(n)

    near_duplicates([scene(1)], others())  # type: ignore[arg-type]
    assert alive == [0, 1, 2]
