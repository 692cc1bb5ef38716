"""How does a data set of Hugging Face `datasets` become a source? Its splits and columns; one saved in a folder."""

import io
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from augment.errors import UserError
from augment.images.sources.base import ImageSource, Item, Split, decode, first_three, in_order

if TYPE_CHECKING:
    from datasets import Dataset

LABELS = ("label", "labels", "cls", "class")
"""Columns that hold the class where none has the type of a class label."""

TESTS = ("test", "validation", "val", "valid")
"""Splits that may be the test images where none is named, in this order."""


class DatasetsSource(ImageSource):
    """A data set of the library `datasets`, wherever it lies.

    Args:
        split: The few-shot pool; by default `train`, or the only split.
        test_split: The test images; by default `test`, or else `validation`.
        image_column: By default the only column of images.
        label_column: By default the only column of class labels, or else `label`, `labels`, `cls` or `class`.
    """

    def __init__(
        self, split: str | None, test_split: str | None, image_column: str | None, label_column: str | None
    ) -> None:
        self.split = split
        self.test_split = test_split
        self.image_column = image_column
        self.label_column = label_column

    @property
    @abstractmethod
    def origin(self) -> str:
        """Its name or folder, for messages."""

    @abstractmethod
    def load(self) -> "Mapping[str, Dataset]":
        """All splits by name.

        Raises:
            UserError: If it cannot be had.
        """

    @cached_property
    def _splits(self) -> "Mapping[str, Dataset]":
        return self.load()

    @property
    def _pool_name(self) -> str:
        splits = self._splits
        return self.split or ("train" if "train" in splits or len(splits) > 1 else next(iter(splits)))

    @property
    def _test_name(self) -> str:
        return self.test_split or next((name for name in TESTS if name in self._splits), "test")

    @property
    def _pool(self) -> "Dataset":
        return self._rows(self._pool_name, "split")

    def _rows(self, name: str, argument: str) -> "Dataset":
        if name not in self._splits:
            raise UserError(
                f"source.{argument}",
                f"'{self.origin}' has no split '{name}'; it has {', '.join(map(repr, self._splits))}",
                f"choose one of these as `source.{argument}`",
            )
        return self._splits[name]

    @cached_property
    def _image(self) -> str:
        """Name of the column of images."""
        features = self._pool.features
        found = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
        return self._column("image", self.image_column, found)

    @cached_property
    def _label(self) -> str:
        """Name of the column of labels."""
        features = self._pool.features
        found = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
        usual = [name for name in LABELS if name in features and type(features[name]).__name__ == "Value"]
        return self._column("label", self.label_column, found or usual[:1])

    def _column(self, what: str, given: str | None, found: Sequence[str]) -> str:
        columns = ", ".join(map(repr, self._pool.features))
        if given is not None and given not in self._pool.features:
            raise UserError(
                f"source.{what}_column", f"'{self.origin}' has no column '{given}'", f"choose from {columns}"
            )
        if given is None and len(found) != 1:
            problem = f"has several columns of {what}s" if found else f"has no column of {what}s"
            raise UserError(
                f"source.{what}_column",
                f"'{self.origin}' {problem}: its columns are {columns}",
                f"name the one that holds them as `source.{what}_column`, or choose another data set",
            )
        return found[0] if given is None else given

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the class labels; without such, the values that the pool has, in order."""
        feature = self._pool.features[self._label]
        if type(feature).__name__ == "ClassLabel":
            return tuple(feature.names)
        return in_order(str(value) for value in self._pool[self._label] if value is not None)

    @cached_property
    def pool(self) -> tuple[Item, ...]:
        """The images of `split`."""
        return self._items(self._pool_name, "pool", "split")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The images of `test_split`."""
        return self._items(self._test_name, "test", "test_split")

    def _items(self, name: str, split: Split, argument: str) -> tuple[Item, ...]:
        rows = self._rows(name, argument)
        for column in (self._image, self._label):
            if column not in rows.features:
                raise UserError(
                    f"source.{argument}",
                    f"split '{name}' of '{self.origin}' has no column '{column}'",
                    "choose another split",
                )
        numbers = {name: label for label, name in enumerate(self.classes)}
        numbered = type(rows.features[self._label]).__name__ == "ClassLabel"
        found = [value if numbered else numbers.get(str(value)) for value in rows[self._label]]
        labels = [-1 if label is None else int(label) for label in found]
        bare = [str(n) for n, label in enumerate(labels) if not 0 <= label < len(numbers)]
        if bare:
            raise UserError(
                f"source.{argument}",
                f"{len(bare)} of the {len(labels)} rows in split '{name}' of '{self.origin}' have no label that the "
                f"classes know, rows {first_three(bare)}",
                "choose a split that is labelled",
            )
        return tuple(Item(f"{name}/{n:06d}", label, split) for n, label in enumerate(labels))

    @cached_property
    def _encoded(self) -> "dict[str, Dataset]":
        """Of each split that an image was asked of, the column of images, not decoded."""
        return {}

    def content(self, item: Item) -> bytes:
        """The bytes of the image's file, as they were stored."""
        import datasets

        name, _, row = item.name.rpartition("/")
        if name not in self._encoded:
            images = self._splits[name].select_columns([self._image])
            self._encoded[name] = images.cast_column(self._image, datasets.Image(decode=False))
        found = self._encoded[name][int(row)][self._image]
        if found is None:
            raise UserError(f"image '{item.name}'", f"is empty in '{self.origin}'", "pass over it with `skip_bad`")
        return found["bytes"] if found["bytes"] is not None else Path(found["path"]).read_bytes()

    def image(self, item: Item) -> Image.Image:
        """The decoded image as upright RGB."""
        return decode(io.BytesIO(self.content(item)), item.name)


class SavedDataset(DatasetsSource):
    """A folder that `datasets` saved: by `save_to_disk`, as Parquet files, or as it lies on the Hub.

    Args:
        path: The folder, or one Parquet file.
        split: The few-shot pool; by default `train`, or the only split.
        test_split: The test images; by default `test`, or else `validation`.
        image_column: By default the only column of images.
        label_column: By default the only column of class labels, or else `label`, `labels`, `cls` or `class`.
    """

    def __init__(
        self,
        path: Path | str,
        split: str | None = None,
        test_split: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        super().__init__(split, test_split, image_column, label_column)
        self.path = Path(path)

    @property
    def origin(self) -> str:
        """The folder."""
        return str(self.path)

    def load(self) -> "Mapping[str, Dataset]":
        """All splits by name; a folder that holds one unnamed data set has it as `train`."""
        import datasets

        if not self.path.exists():
            raise UserError("source.path", f"no folder '{self.path}'", "give one that `datasets` saved")
        try:
            if is_saved_to_disk(self.path):
                found = datasets.load_from_disk(str(self.path))
            elif self.path.is_file():
                found = datasets.load_dataset("parquet", data_files=str(self.path))
            else:
                found = datasets.load_dataset(str(self.path))
        except (OSError, ValueError, TypeError, KeyError, datasets.exceptions.DatasetsError) as error:
            raise UserError(
                "source.path", f"'{self.path}' cannot be read by `datasets` ({first_line(error)})", "save it anew"
            ) from error
        return found if isinstance(found, datasets.DatasetDict) else {str(found.split or "train"): found}


def is_saved_to_disk(path: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def first_line(error: Exception) -> str:
    """The first line of what a library says."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
