"""How far is a long run? A live bar on a terminal, and in a log a plain line now and then: total, speed, time left."""

import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from augment.runtime.terminal import PlainConsole

LINE_SECONDS = 30.0
"""Between two lines of a log, at most, as long as work is being finished."""

LINE_SHARE = 0.1
"""Of the work, after which a line may come sooner."""

SOONEST_SECONDS = 5.0
"""Between two lines of a log, at least."""


class Meter:
    """Shows how much of the work is done; a context, or `start` and `stop`.

    Args:
        label: What is being done.
        total: Units of work in all.
        unit: What is counted, in the plural.
        done: Units that were done before.
        speed_seconds: The time left is told by the speed of the last so many seconds, or of the last unit if that took
            longer.
        rate: Show the speed; otherwise the time that has gone.
        ending: Whether a log gets what was reached as its last line; a command may say itself how it ended.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        done: int = 0,
        speed_seconds: float = 30.0,
        rate: bool = True,
        ending: bool = True,
    ) -> None:
        self._done, self._unit, self._rate, self._ending, self._note = done, unit, rate, ending, ""
        console = PlainConsole(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Told(self._counted),
            _Told(self._left),
            _Told(lambda task: self._note),
            console=console,
            disable=not console.is_terminal,
            get_time=time.monotonic,
        )
        self._label = label
        self._task = self._bar.add_task(label, total=total, completed=done)
        self._speed_seconds = speed_seconds
        self._begin()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to show; time is counted from here."""
        self._bar.reset(self._task, completed=self._done)
        self._begin()
        self._bar.start()

    def advance(self, count: int = 1) -> None:
        """Count finished units."""
        self._bar.advance(self._task, count)
        now = time.monotonic()
        while len(self._seen) > 1 and now - self._seen[1][0] > self._speed_seconds:
            self._seen.popleft()
        self._seen.append((now, int(self._state.completed)))
        if self._bar.disable and self._is_due():
            self._say()

    def describe(self, label: str = "", note: str = "") -> None:
        """Change what the bar is labelled with, and what stands behind it there and in a log."""
        self._note = note
        self._bar.update(self._task, description=label or self._label)

    def stop(self) -> None:
        """Leave what was reached as the last line."""
        self._bar.stop()
        if self._bar.disable and self._ending and self._said != self._state.completed:
            self._say()

    def _begin(self) -> None:
        self._said, self._said_at = self._done, time.monotonic()
        self._seen = deque([(self._said_at, self._done)])  # when, and how much was done: for the speed

    @property
    def _state(self) -> Task:
        return self._bar.tasks[0]

    def _counted(self, task: Task) -> str:
        done, gone = int(task.completed), task.elapsed or 0.0
        counted = f"{done}/{task.total:.0f}"
        if not self._rate:
            return f"{counted} {self._unit}  {clock(gone)} gone,"
        speed = (done - self._done) / gone if gone else 0.0
        return f"{counted}  {speed:.1f} {self._unit}/s" if speed >= 1 else f"{counted}  {speed:.2g} {self._unit}/s"

    def _left(self, task: Task) -> str:
        (begun, before), (now, done) = self._seen[0], self._seen[-1]
        if done == before:
            return "-:--:-- left"
        return f"{clock((now - begun) / (done - before) * ((task.total or 0) - done))} left"

    def _is_due(self) -> bool:
        """Whether the log has waited long enough for a line."""
        waited = time.monotonic() - self._said_at
        share = (self._state.completed - self._said) / max(self._state.total or 0, 1)
        return waited >= LINE_SECONDS or (share >= LINE_SHARE and waited >= SOONEST_SECONDS)

    def _say(self) -> None:
        task = self._state
        words = (self._label, f"{task.percentage:.0f} %", self._counted(task), self._left(task), self._note)
        print("  ".join(word for word in words if word), file=sys.stderr, flush=True)
        self._said, self._said_at = int(task.completed), time.monotonic()


class _Told(ProgressColumn):
    """A column of text that is asked for at each refresh."""

    def __init__(self, told: Callable[[Task], str]) -> None:
        super().__init__()
        self._told = told

    def render(self, task: Task) -> Text:
        return Text(self._told(task), style="cyan")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    return str(timedelta(seconds=round(seconds)))
