"""How far is a study? Cells done, running and left, with the time that is left."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from classify.study.runner import Event

A_DAY = 86400.0


class StudyProgress:
    """A bar for all cells with the names of those that run now; collects what failed.

    Args:
        total: Cells of the study.
        finished: Cells that were finished before.
    """

    def __init__(self, total: int, finished: int) -> None:
        self.failed: list[str] = []
        self.done, self.total = finished, total
        self._running: list[str] = []
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            speed_estimate_period=A_DAY,
        )
        self._all = self._bar.add_task("study", total=total, completed=finished)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def tell(self, event: Event) -> None:
        """Take note of what happened to a cell."""
        name = str(event.cell)
        if event.kind == "running":
            self._running.append(name)
        else:
            if name in self._running:  # a process may die before it says what it is at
                self._running.remove(name)
            self._bar.advance(self._all)
        if event.kind == "failed":
            self.failed.append(f"{name}: {event.text}")
        self.done += event.kind == "done"
        self._bar.update(self._all, description=" | ".join(self._running) or "study")
