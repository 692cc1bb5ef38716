"""What does every benchmark do around its measurement? Options, rounds, a table, and JSON with where it ran."""

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from augment.cli import fail
from augment.commands.parsing import CommandParser
from augment.errors import UserError
from augment.runtime.files import write_json
from augment.runtime.fingerprint import library_versions
from augment.runtime.quiet import quiet

LIBRARIES = ("timm", "torchvision", "webdataset", "torchmetrics")
RESULTS = Path("benchmarks/results")


@dataclass(frozen=True)
class Figure:
    """What a benchmark is run for: one number per round, and the goal that their median is held to.

    Attributes:
        name: What it is, in a few words.
        values: One per round.
        at_most: Goal, where less is better.
        at_least: Goal, where more is better.
    """

    name: str
    values: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def goal(self) -> str:
        """The goal in words; empty if there is none."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the goal; None if there is none."""
        middle = median(self.values)
        if self.at_most is not None:
            return middle <= self.at_most
        return middle >= self.at_least if self.at_least is not None else None

    def as_json(self) -> dict[str, Any]:
        """Median, range and goal."""
        return {
            "median": median(self.values),
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
            "goal": self.goal or None,
            "met": self.met,
        }


@dataclass(frozen=True)
class Report:
    """What a benchmark found.

    Attributes:
        figures: The ratios and rates, in the order of the table.
        timings: Raw seconds by variant, one per round.
        details: What else is worth knowing.
    """

    figures: list[Figure] = field(default_factory=list)
    timings: dict[str, list[float]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def add(self, other: "Report") -> None:
        """Put another report's findings behind these."""
        self.figures.extend(other.figures)
        self.timings.update(other.timings)
        self.details.update(other.details)


def interleave(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure all variants in turn, A B A B ..., so that what else the machine does falls on all alike.

    Args:
        variants: Each returns the seconds of one run.
        rounds: How often.

    Returns:
        Seconds by variant, one per round.
    """
    timings: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            timings[name].append(measure())
    return timings


def over(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """The ratio of two variants in each round."""
    return tuple(a / b for a, b in zip(numerators, denominators, strict=True))


def environment(device: str) -> dict[str, Any]:
    """Where the benchmark runs, and how busy the machine was in the last minutes."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def record(path: Path, benchmark: str, settings: Mapping[str, Any], report: Report) -> None:
    """Write what was found, and under which circumstances, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": benchmark,
        "versions": library_versions() | {name: version(name) for name in LIBRARIES},
        "environment": environment(settings.get("accelerator", "cpu")),
        "settings": dict(settings),
        "figures": {figure.name: figure.as_json() for figure in report.figures},
        "timings": report.timings,
        "details": report.details,
    }
    write_json(path, content)


def show(benchmark: str, report: Report) -> None:
    """Print the figures as a table."""
    table = Table(title=benchmark)
    for column in ("figure", "median", "min", "max", "goal", "met"):
        table.add_column(column, justify="left" if column in ("figure", "goal") else "right")
    for figure in report.figures:
        numbers = (f"{value:.4g}" for value in (median(figure.values), min(figure.values), max(figure.values)))
        met = "" if figure.met is None else "yes" if figure.met else "no"
        table.add_row(figure.name, *numbers, figure.goal, met)
    Console().print(table)


def run(benchmark: Callable[..., Iterator[Report]], args: Sequence[str] | None = None) -> None:
    """A benchmark as a program: its function's arguments as options, its report as a table and as JSON.

    Args:
        benchmark: A typed function, named like its file; it yields its report, again and again as it grows, so that
            a run that is stopped keeps what it has found.
        args: Of the command line.
    """
    name = benchmark.__name__
    parser = CommandParser(
        prog=f"python -m benchmarks.{name}", description=(benchmark.__doc__ or "").partition("\n")[0]
    )
    parser.add_function_arguments(benchmark)
    parser.add_argument("--output", type=str, default=str(RESULTS / f"{name}.json"), help="JSON file to write.")
    settings = parser.parse_args(sys.argv[1:] if args is None else list(args)).as_dict()
    output = Path(settings.pop("output"))
    quiet()
    report = Report()
    try:
        for report in benchmark(**settings):
            record(output, name, settings, report)
    except UserError as error:
        fail(parser.prog, str(error))
    show(name, report)
    print(f"written: {output}")
