"""What keeps training away from the test images? A source that gives them out during the final test alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from augment.images.sources import ImageSource, Item


class Sealed(ImageSource):
    """A source whose test split cannot be listed, read or decoded until it is opened.

    Args:
        source: What is sealed.
    """

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._open = False

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Give out test images inside this block."""
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def _check(self, split: str) -> None:
        if split == "test" and not self._open:
            raise RuntimeError("the test images are sealed until the final test")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self._source.classes

    @property
    def pool(self) -> tuple[Item, ...]:
        """The images that may be chosen for training."""
        return self._source.pool

    @property
    def test(self) -> tuple[Item, ...]:
        """The test images, once the source is open."""
        self._check("test")
        return self._source.test

    def content(self, item: Item) -> bytes:
        """The bytes that identify the image."""
        self._check(item.split)
        return self._source.content(item)

    def image(self, item: Item) -> Image.Image:
        """The upright RGB image."""
        self._check(item.split)
        return self._source.image(item)
