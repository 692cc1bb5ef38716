"""Which trainings does a study consist of? Rows × shots × seeds × classifiers: pure functions of its settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from augment.errors import UserError
from augment.runtime.files import partial_path
from classify.studies.rows import Contender, Row, WantedSet, slug

LONGEST_NAME = 255
"""Bytes of a file's name on all common file systems."""


@dataclass(frozen=True)
class Cell:
    """One training and its test."""

    row: Row
    shots: int
    seed: int
    contender: Contender

    @property
    def slug(self) -> str:
        """Name of its file."""
        return f"{slug(self.row.name)}-{slug(self.contender.name)}-shots{self.shots}-seed{self.seed}"

    @property
    def synthetic(self) -> WantedSet | None:
        """What it trains on beside the real images."""
        return self.row.wanted(self.shots, self.seed)

    def __str__(self) -> str:
        return f"{self.row.name}, {self.contender.name}, {self.shots} shots, seed {self.seed}"


@dataclass(frozen=True)
class Group:
    """The cells that share a synthetic set: the unit that a worker takes."""

    synthetic: WantedSet | None
    cells: tuple[Cell, ...]


def check_length(cell: Cell) -> None:
    """Refuse names that make the name of a file too long.

    Raises:
        UserError: If they do.
    """
    length = len(partial_path(Path(f"{cell.slug}.json")).name.encode())
    if length > LONGEST_NAME:
        problem = f"the names '{cell.row.name}' and '{cell.contender.name}' make a file name of {length} bytes"
        raise UserError("methods", problem, f"shorten one of them; {LONGEST_NAME} is the most")


def make_groups(rows: Sequence[Row], contenders: Sequence[Contender], seeds: int) -> list[Group]:
    """All cells, seed by seed so that a study that was stopped is balanced, those that share a set together.

    Raises:
        UserError: If two cells would share a file, a file's name would be too long, or there is no cell.
    """
    groups: dict[str, list[Cell]] = {}
    files: dict[str, Cell] = {}
    for seed in range(seeds):
        for shots in sorted({number for row in rows for number in row.shots}):
            for row in rows:
                for contender in contenders:
                    if shots in row.shots and shots in contender.shots:
                        cell = Cell(row, shots, seed, contender)
                        check_length(cell)
                        if (other := files.setdefault(cell.slug, cell)) is not cell:
                            problem = f"'{other}' and '{cell}' cannot be told apart"
                            raise UserError("methods", problem, "give one of the rows another name")
                        # Cells without a set have nothing to share, and may run side by side.
                        shared = cell.slug if cell.synthetic is None else repr((seed, shots, cell.synthetic))
                        groups.setdefault(shared, []).append(cell)
    if not groups:
        raise UserError("classifiers", "none is trained at the shots of any row", "give them some of `shots`")
    return [Group(cells[0].synthetic, tuple(cells)) for cells in groups.values()]
