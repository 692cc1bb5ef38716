"""What do the figures show together? `index.html`: every figure, what to look for, and the command that made it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Report:
    """One figure as it was drawn."""

    what: str
    shows: str
    look_for: str
    origin: str
    command: str
    seconds: float
    note: str
    pictures: tuple[str, ...]
    tables: tuple[str, ...]
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Skipped:
    """One figure that could not be drawn, and why."""

    what: str
    shows: str
    reason: str


def write_gallery(folder: Path, shown: Sequence[Report | Skipped], model: dict[str, Any], command: str) -> Path:
    """Write index.html beside the pictures, which it shows by their file names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = plain
    page = environment.get_template("gallery.html.jinja").render(
        drawn=[report for report in shown if isinstance(report, Report)],
        skipped=[report for report in shown if isinstance(report, Skipped)],
        model=model,
        command=command,
    )
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def plain(value: Any) -> str:
    """A measurement as people read it: text as it is, anything else as JSON, a line per part."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(f"{name}: {json.dumps(part, ensure_ascii=False)}" for name, part in value.items())
    return json.dumps(value, ensure_ascii=False)
