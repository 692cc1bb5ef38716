"""How does a report look? Sections of tables and pictures as one self-contained HTML page, and as Markdown."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import jinja2

from augment.runtime.foreign_text import code, markdown

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Value:
    """One cell of a table.

    Attributes:
        text: What is shown.
        order: What it is sorted by; None stands last.
        strong: Shown in bold.
        shade: From -1 (orange) to 1 (blue); None for no colour.
    """

    text: str
    order: float | str | None = None
    strong: bool = False
    shade: float | None = None


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows; notes below it define its columns."""

    head: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A figure of the report, with what to look for."""

    file: str
    title: str
    caption: str
    pixelated: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, what it is about in paragraphs, and what is shown."""

    title: str
    notes: tuple[str, ...] = ()
    tables: tuple[tuple[str, Table], ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: The question.
        headline: The answer, in one sentence.
        remarks: What must be known of it, in small print.
        figure: What shows the answer; None if nothing was compared.
        wide: Whether the figure takes the whole width.
        pictures: Real and synthetic images beside it.
        sections: The rest.
        command: How it was made.
        config: What was run, as JSON.
        versions: Of the libraries.
    """

    title: str
    headline: str
    remarks: tuple[str, ...]
    figure: Picture | None
    wide: bool
    pictures: tuple[Picture, ...]
    sections: tuple[Section, ...]
    command: str
    config: str
    versions: str


class ReportFolder(Protocol):
    """A folder that a report is written into: a study's, or an advice's."""

    path: Path

    def page(self, kind: str) -> Path:
        """Where the report goes: `html` or `md`."""


def render(folder: ReportFolder, page: Page) -> None:
    """Write the report as HTML, with every picture inside, and as Markdown, which refers to their files."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["embed"] = lambda file: base64.b64encode((folder.path / file).read_bytes()).decode()
    environment.filters["text"], environment.filters["code"] = markdown, code
    for kind in ("html", "md"):
        template = (TEMPLATES / f"report.{kind}.jinja").read_text(encoding="utf-8")
        environment.autoescape = kind == "html"
        folder.page(kind).write_text(environment.from_string(template).render(page=page), encoding="utf-8")
