"""Where do the seconds go? Time per stage of a run, measured only when it is asked for."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from rich.table import Table

Stage = Literal["encode", "invert", "round trip", "mix", "denoise", "decode", "wait", "write"]
BACKGROUND: tuple[Stage, ...] = ("write",)
"""Stages of other threads: their time overlaps with the rest."""


def now(device: torch.device) -> float:
    """The clock, once the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Stopwatch:
    """Adds up seconds per stage.

    Args:
        running: Measure. An accelerator works ahead of the program, so each border of a stage then waits for it;
            a run that is not being measured never does.
    """

    def __init__(self, running: bool = False) -> None:
        self.running = running
        self.seconds: dict[Stage, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Count what happens inside as this stage."""
        if not self.running:
            yield
            return
        begun = self._now(name)
        try:
            yield
        finally:
            self.seconds[name] += self._now(name) - begun

    def _now(self, name: Stage) -> float:
        beside = name in BACKGROUND or not torch.cuda.is_available()
        return time.perf_counter() if beside else now(torch.device("cuda"))

    def report(self, total: float) -> dict[str, float]:
        """Seconds of every stage that was seen, and of what no stage covers, in the order of the work."""
        seen = {name: self.seconds[name] for name in get_args(Stage) if name in self.seconds}
        covered = sum(seconds for name, seconds in seen.items() if name not in BACKGROUND)
        return {**seen, "other": max(total - covered, 0.0)}


def profile_table(seconds: dict[str, float], total: float) -> Table:
    """The profile for people."""
    table = Table(title=f"where {total:.1f} s went")
    for column in ("stage", "seconds", "share"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, value in seconds.items():
        beside = " (in the background)" if name in BACKGROUND else ""
        table.add_row(name + beside, f"{value:.2f}", f"{value / total:.1%}" if total else "–")
    return table
