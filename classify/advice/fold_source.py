"""How does a fold look to who trains? As a source: its training images are the pool, its held-out images the test."""

from dataclasses import replace

from PIL import Image

from augment.images.sources import ImageSource, Item
from classify.advice.folds import Fold


class FoldSource(ImageSource):
    """The images of one fold, and no other.

    Args:
        source: Where they lie.
        fold: Which of them are trained on, and which are held out.
    """

    def __init__(self, source: ImageSource, fold: Fold) -> None:
        self._source = source
        self._fold = fold
        self.folders = source.folders

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self._source.classes

    @property
    def pool(self) -> tuple[Item, ...]:
        """The training images of the fold."""
        return tuple(Item(shot.name, shot.label) for shot in self._fold.train)

    @property
    def test(self) -> tuple[Item, ...]:
        """The images that the fold holds out."""
        return tuple(Item(shot.name, shot.label, "test") for shot in self._fold.held)

    def content(self, item: Item) -> bytes:
        """The bytes that identify the image."""
        return self._source.content(replace(item, split="pool"))

    def image(self, item: Item) -> Image.Image:
        """The upright RGB image."""
        return self._source.image(replace(item, split="pool"))
