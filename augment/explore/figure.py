"""What is a figure? Something that draws itself with an explorer, and says what it found."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from augment.explore.explorer import Explorer


@dataclass(frozen=True)
class Findings:
    """What a figure wrote into the explorer's folder, and what it measured.

    Attributes:
        pictures: File names of pictures and films, the most telling first.
        tables: File names of the CSVs behind them.
        numbers: What was measured, by name.
        note: What the reader must know about this backbone, if anything.
    """

    pictures: tuple[str, ...]
    tables: tuple[str, ...]
    numbers: dict[str, Any] = field(default_factory=dict)
    note: str = ""


class Figure(Protocol):
    """One figure; its fields are its options."""

    shows: ClassVar[str]
    """One sentence: what is drawn."""

    look_for: ClassVar[str]
    """One sentence: what to look for."""

    origin: ClassVar[str]
    """The figure of the sources that it redraws."""

    def draw(self, explorer: Explorer) -> Findings:
        """Draw it.

        Raises:
            UserError: If the backbone or the images do not allow it.
        """
