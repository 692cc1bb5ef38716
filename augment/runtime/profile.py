"""Where do the seconds go? A Lightning profiler that adds up the stages of a run and waits for the device."""

import time
from collections import defaultdict
from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import lightning as L
import torch
from lightning.pytorch.profilers import Profiler
from rich.table import Table

Stage = Literal["encode", "invert", "round trip", "mix", "denoise", "decode", "wait", "write"]
"""What is measured, in the order of the work."""

STAGES: tuple[Stage, ...] = get_args(Stage)

BACKGROUND: tuple[Stage, ...] = ("write",)
"""Stages of other threads: their time overlaps with the rest."""


def now(device: torch.device) -> float:
    """The clock, once the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def profiler_of(trainer: L.Trainer) -> Profiler:
    """The trainer's profiler; one that does nothing unless the trainer was built with another."""
    profiler: Profiler = trainer.profiler  # type: ignore[attr-defined]  # public, but not declared in its class
    return profiler


def profile(trainer: L.Trainer, stage: Stage) -> AbstractContextManager[Any]:
    """Count what happens inside as this stage, if the trainer is profiled."""
    return profiler_of(trainer).profile(stage)


class StageProfiler(Profiler):
    """Adds up seconds per stage; one object may serve several trainers.

    An accelerator works ahead of the program, so each border of a stage waits for it. A trainer without this profiler
    never waits. What Lightning itself profiles is left out.

    Attributes:
        seconds: Seconds that each stage took so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._begun: dict[str, float] = {}

    def start(self, action_name: str) -> None:
        """Begin a stage; each runs in one thread at a time."""
        if action_name in STAGES:
            self._begun[action_name] = self._now(action_name)

    def stop(self, action_name: str) -> None:
        """End a stage."""
        if action_name in STAGES:
            self.seconds[action_name] += self._now(action_name) - self._begun.pop(action_name)

    def report(self, total: float) -> dict[str, float]:
        """Seconds of every stage that was seen, and of what no stage covers, in the order of the work.

        Args:
            total: Seconds of the whole run.
        """
        seen: dict[str, float] = {name: self.seconds[name] for name in STAGES if name in self.seconds}
        covered = sum(seconds for name, seconds in seen.items() if name not in BACKGROUND)
        return {**seen, "other": max(total - covered, 0.0)}

    @staticmethod
    def _now(name: str) -> float:
        beside = name in BACKGROUND or not torch.cuda.is_available()
        return time.perf_counter() if beside else now(torch.device("cuda"))


def profile_table(seconds: dict[str, float], total: float) -> Table:
    """The profile for people.

    Args:
        seconds: Seconds of each stage, as `StageProfiler.report` gives them.
        total: Seconds of the whole run.
    """
    table = Table(title=f"where {total:.1f} s went")
    for column in ("stage", "seconds", "share"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, value in seconds.items():
        beside = " (in the background)" if name in BACKGROUND else ""
        table.add_row(name + beside, f"{value:.2f}", f"{value / total:.1%}" if total else "–")
    return table
