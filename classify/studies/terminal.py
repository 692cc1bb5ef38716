"""What does a study say while it runs? What there is to do, how far it is, and where it was stopped."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn, Self

from augment.runtime.foreign_text import plain
from augment.runtime.progress import Meter
from augment.runtime.terminal import PlainConsole
from classify.studies.grid import Group
from classify.studies.runner import Event, Runner

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
        self._meter = Meter("study", total, "cells", finished, speed_seconds=A_DAY, rate=False)

    def __enter__(self) -> Self:
        self._meter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.stop()

    def tell(self, event: Event) -> None:
        """Take note of what happened to a cell."""
        name = str(event.cell)
        if event.kind == "running":
            self._running.append(name)
        else:
            if name in self._running:  # a process may die before it says what it is at
                self._running.remove(name)
            self._meter.advance()
        if event.kind == "failed":
            self.failed.append(f"{name}: {event.text}")
        self.done += event.kind == "done"
        self._meter.describe(plain(" | ".join(self._running)))


def announce(runner: Runner, left: Sequence[Group], total: int) -> None:
    """Say how much there is to do."""
    study = runner.study
    cells = sum(len(group.cells) for group in left)
    wanted = [group.synthetic for group in left if group.synthetic is not None]
    sets = [one for one in wanted if runner.folder.set_note(study.set_name(one)) is None]
    images = sum(one.plan.per_class for one in sets) * len(study.source.classes)
    evaluations = images * study.synthesizer.evaluations_per_image()
    say(
        f"{cells} of {total} cells to run, {study.steps} optimizer steps each; {len(sets)} synthetic sets, "
        f"{images} images, about {evaluations:.2g} network evaluations"
    )


@contextmanager
def stoppable(progress: StudyProgress) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the study in one line."""

    class Stopped(BaseException):
        pass

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Stopped as stopped:
        say(f"stopped; {progress.done} of {progress.total} cells are kept, the same command goes on from there")
        raise SystemExit(128 + int(stopped.args[0])) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """One line for the user."""
    PlainConsole(stderr=True).print(text, soft_wrap=True)
