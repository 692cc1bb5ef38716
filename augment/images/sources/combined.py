"""How do two sources become one? The pool of the first, and the pool of the second as test images."""

from functools import cached_property

from PIL import Image

from augment.errors import UserError
from augment.images.sources.base import ImageSource, Item, first_three


class Combined(ImageSource):
    """The pool of one source, tested on another's; classes are the same where they have the same name.

    Args:
        train: Its pool is the pool.
        tested: Its pool is the test split.
    """

    def __init__(self, train: ImageSource, tested: ImageSource) -> None:
        self.train = train
        self.tested = tested
        self.folders = (*train.folders, *tested.folders)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the first source."""
        return self.train.classes

    @property
    def pool(self) -> tuple[Item, ...]:
        """The pool of the first source."""
        return self.train.pool

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The pool of the second source, with the labels of the first."""
        theirs = self.tested.classes
        labels = {name: label for label, name in enumerate(self.classes)}
        found = self.tested.pool
        unknown = sorted({theirs[item.label] for item in found} - labels.keys())
        if unknown:
            raise UserError(
                "source.test_path",
                f"{first_three(unknown)}: no such class among the {len(labels)} of the training images, "
                f"which begin with {first_three(self.classes)}",
                "give both the same class names",
            )
        return tuple(Item(item.name, labels[theirs[item.label]], "test") for item in found)

    def _home(self, item: Item) -> tuple[ImageSource, Item]:
        if item.split == "pool":
            return self.train, item
        label = self.tested.classes.index(self.classes[item.label])
        return self.tested, Item(item.name, label, "pool")

    def content(self, item: Item) -> bytes:
        """What its own source says."""
        source, own = self._home(item)
        return source.content(own)

    def image(self, item: Item) -> Image.Image:
        """What its own source shows."""
        source, own = self._home(item)
        return source.image(own)
