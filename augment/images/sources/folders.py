"""How does a folder become a source? By its class folders, or all of its images as one class."""

from functools import cached_property
from pathlib import Path

from PIL import Image

from augment.errors import UserError
from augment.images.sources.base import IMAGE_SUFFIXES, ImageSource, Item, Split, decode


class ImageFolder(ImageSource):
    """A folder of class folders: `PATH/<class>/<image>`, any format that Pillow reads.

    Args:
        path: The folder that holds one folder of training images per class.
        test_path: The folder that holds one folder of test images per class; without it a classifier cannot be tested.
    """

    def __init__(self, path: Path | str, test_path: Path | str | None = None) -> None:
        self.path = Path(path)
        self.test_path = Path(test_path) if test_path is not None else None
        self.folders = tuple(folder for folder in (self.path, self.test_path) if folder is not None)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted."""
        if not self.path.is_dir():
            raise UserError("source.path", f"no folder '{self.path}'", "give a folder of class folders")
        names = sorted(p.name for p in self.path.iterdir() if p.is_dir() and not p.name.startswith("."))
        if not names:
            raise UserError(
                "source.path", f"'{self.path}' has no class folders", f"sort images as {self.path}/<class>/<image>"
            )
        return tuple(names)

    @cached_property
    def pool(self) -> tuple[Item, ...]:
        """The images below `path`."""
        return self._scan(self.path, "pool", "source.path")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The images below `test_path`."""
        if self.test_path is None:
            raise UserError(
                "source.test_path", "not given", "a classifier needs a folder of test images to be tested on"
            )
        if not self.test_path.is_dir():
            raise UserError("source.test_path", f"no folder '{self.test_path}'", "give a folder of class folders")
        folders = {p.name for p in self.test_path.iterdir() if p.is_dir() and not p.name.startswith(".")}
        unknown = sorted(folders - set(self.classes))
        if unknown:
            raise UserError(
                "source.test_path",
                f"class '{unknown[0]}' of '{self.test_path}' is not in '{self.path}'",
                "give both the same class folders",
            )
        return self._scan(self.test_path, "test", "source.test_path")

    def _scan(self, root: Path, split: Split, argument: str) -> tuple[Item, ...]:
        items: list[Item] = []
        for label, name in enumerate(self.classes):
            files = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            if not files:
                raise UserError(argument, f"class '{name}' of '{root}' has no images", "add some or remove the folder")
            items += [Item(file.relative_to(root).as_posix(), label, split) for file in files]
        return tuple(items)

    def _file(self, item: Item) -> Path:
        root = self.path if item.split == "pool" or self.test_path is None else self.test_path
        return root / item.name

    def content(self, item: Item) -> bytes:
        """The file's bytes."""
        return self._file(item).read_bytes()

    def image(self, item: Item) -> Image.Image:
        """The decoded file as upright RGB."""
        file = self._file(item)
        return decode(file, str(file))


class UnlabelledFolder(ImageFolder):
    """All images below a folder, at any depth, as one class; the test images are optional.

    Args:
        path: The folder of training images.
        test_path: The folder of images that the model card measures the finished model on.
    """

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The only class."""
        return ("image",)

    @cached_property
    def pool(self) -> tuple[Item, ...]:
        """The images below `path`."""
        return self._below(self.path, "pool", "source.path")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The images below `test_path`, none without it."""
        return () if self.test_path is None else self._below(self.test_path, "test", "source.test_path")

    def _below(self, root: Path, split: Split, argument: str) -> tuple[Item, ...]:
        files = sorted(p for p in root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not files:
            raise UserError(argument, f"no images below '{root}'", "give a folder that has some")
        return tuple(Item(file.relative_to(root).as_posix(), 0, split) for file in files)
