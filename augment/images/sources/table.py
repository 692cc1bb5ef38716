"""How does a folder with a table of labels become a source? One row an image: its file, its label, its split."""

import csv
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from augment.errors import UserError
from augment.images.sources.base import ImageSource, Item, Split, decode, first_three, in_order
from augment.runtime.json_files import parse_object

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".parquet"})

FILE_COLUMNS = ("file", "file_name", "filename", "path", "image")
LABEL_COLUMNS = ("label", "class", "class_name", "category")
SPLIT_COLUMN = "split"
"""Names that are looked for, in this order."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    file: str
    label: str
    split: str | None


class TableFolder(ImageSource):
    """A folder of images whose classes stand in a table: CSV, TSV, JSON lines or Parquet.

    Args:
        path: The folder that the table's file names are relative to.
        labels: The table. It has a column for the file, one for the label, and may have one named `split`.
        split: Rows of this split are the pool; a table without splits is all pool.
        test_split: Rows of this split are the test images.
        file_column: Name of the column of files; by default `file`, `file_name`, `filename`, `path` or `image`.
        label_column: Name of the column of labels; by default `label`, `class`, `class_name` or `category`.
    """

    def __init__(
        self,
        path: Path | str,
        labels: Path | str,
        split: str = "train",
        test_split: str = "test",
        file_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.folders = (self.path,)
        self.labels = Path(labels)
        self.split = split
        self.test_split = test_split
        self.file_column = file_column
        self.label_column = label_column

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        if not self.path.is_dir():
            raise UserError("source.path", f"no folder '{self.path}'", "give the folder that the files lie in")
        records = read_table(self.labels)
        columns = list(records[0])
        file = find_column("file_column", self.file_column, FILE_COLUMNS, columns, self.labels)
        label = find_column("label_column", self.label_column, LABEL_COLUMNS, columns, self.labels)
        rows = tuple(
            Row(text(record.get(file)), text(record.get(label)), text(record.get(SPLIT_COLUMN)) or None)
            for record in records
        )
        self._check(rows)
        return rows

    def _check(self, rows: Sequence[Row]) -> None:
        unnamed = [str(n) for n, row in enumerate(rows, 1) if not row.file]
        if unnamed:
            raise UserError(
                "source.labels",
                f"{len(unnamed)} rows of '{self.labels}' name no file, number {first_three(unnamed)}",
                "fill in the files, or delete the rows",
            )
        empty = [row.file for row in rows if not row.label]
        if empty:
            raise UserError(
                "source.labels",
                f"{len(empty)} rows of '{self.labels}' have an empty label: {first_three(empty)}",
                "fill in the labels, or delete the rows",
            )
        twice = [file for file, count in Counter(row.file for row in rows).items() if count > 1]
        if twice:
            raise UserError(
                "source.labels",
                f"{len(twice)} files stand in more than one row of '{self.labels}': {first_three(twice)}",
                "leave one row for each file",
            )
        missing = [row.file for row in rows if not (self.path / row.file).is_file()]
        if missing:
            raise UserError(
                "source.labels",
                f"{len(missing)} of the {len(rows)} files in '{self.labels}' are not below '{self.path}': "
                f"{first_three(missing)}",
                "write file names relative to that folder, or delete the rows",
            )

    def _part(self, split: str, argument: str) -> list[Row]:
        splits = {row.split for row in self._rows}
        found = [row for row in self._rows if row.split == split]
        if not found:
            names = first_three(sorted(name or "" for name in splits))
            raise UserError(
                f"source.{argument}",
                f"no row of '{self.labels}' has the split '{split}'; there are {names}",
                f"choose one of these as `source.{argument}`",
            )
        return found

    @cached_property
    def _pool(self) -> list[Row]:
        if all(row.split is None for row in self._rows):
            return list(self._rows)
        return self._part(self.split, "split")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels of the pool: numbers by their value, others by the alphabet."""
        return in_order(row.label for row in self._pool)

    @cached_property
    def pool(self) -> tuple[Item, ...]:
        """The images of `split`, or all of a table without splits."""
        return self._items(self._pool, "pool")

    @cached_property
    def test(self) -> tuple[Item, ...]:
        """The images of `test_split`."""
        if all(row.split is None for row in self._rows):
            raise UserError(
                "source.test_split",
                f"'{self.labels}' has no column '{SPLIT_COLUMN}', so no test images",
                "add the column, with 'train' or 'test' in each row",
            )
        rows = self._part(self.test_split, "test_split")
        unknown = sorted({row.label for row in rows} - set(self.classes))
        if unknown:
            raise UserError(
                "source.labels",
                f"{first_three(unknown)}: a label of the split '{self.test_split}' of '{self.labels}' that "
                f"'{self.split}' does not have",
                "give both splits the same labels",
            )
        return self._items(rows, "test")

    def _items(self, rows: Sequence[Row], split: Split) -> tuple[Item, ...]:
        labels = {name: label for label, name in enumerate(self.classes)}
        return tuple(Item(row.file, labels[row.label], split) for row in sorted(rows, key=lambda row: row.file))

    def content(self, item: Item) -> bytes:
        """The file's bytes."""
        return (self.path / item.name).read_bytes()

    def image(self, item: Item) -> Image.Image:
        """The decoded file as upright RGB."""
        return decode(self.path / item.name, str(self.path / item.name))


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, at least one, each by the names of its columns.

    Raises:
        UserError: If there is no such file, or it cannot be read as what its name says.
    """
    if not path.is_file():
        raise UserError("source.labels", f"no file '{path}'", "give a CSV, JSON lines or Parquet file")
    try:
        match path.suffix.lower():
            case ".csv" | ".tsv":
                rows = read_csv(path)
            case ".jsonl":
                lines = path.read_bytes().removeprefix(BOM_UTF8).splitlines()
                rows = [parse_object(line) for line in lines if line.strip()]
            case ".parquet":
                from pyarrow import parquet

                rows = parquet.read_table(path).to_pylist()
            case suffix:
                known = ", ".join(sorted(TABLE_SUFFIXES))
                raise UserError("source.labels", f"'{path}' ends in '{suffix}'", f"give one that ends in {known}")
    except (OSError, ValueError, TypeError, csv.Error) as error:  # pyarrow's are OSErrors and ValueErrors too
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError("source.labels", f"'{path}' cannot be read ({reason})", "mend it, or save it anew") from error
    if not rows:
        raise UserError("source.labels", f"'{path}' has no rows", "give one row an image")
    return rows


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file; the columns are separated by whichever of `,`, `;` and tab its first line has most."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        header = lines.readline()
        lines.seek(0)
        return list(csv.DictReader(lines, delimiter=max(",;\t", key=header.count)))


def find_column(argument: str, given: str | None, usual: Sequence[str], columns: Sequence[str], table: Path) -> str:
    """The name of a table's column: the given one, or the first of the usual ones.

    Raises:
        UserError: If the table has no such column.
    """
    wanted = usual if given is None else (given,)
    found = next((name for name in wanted if name in columns), None)
    if found is None:
        raise UserError(
            f"source.{argument}",
            f"'{table}' has no column {' or '.join(map(repr, wanted))}",
            f"name one of its columns: {', '.join(map(repr, columns))}",
        )
    return found


def text(value: object) -> str:
    """A cell as text, without white space around it; nothing where it is empty."""
    return "" if value is None else str(value).strip()
