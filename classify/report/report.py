"""What did the study find? `results.csv`, `report.md` and a self-contained `report.html`."""

import json
from collections.abc import Callable, Iterator, Sequence

import pandas as pd
from rich.table import Table

from augment.runtime.terminal import PlainConsole
from classify.report.answers import answer, headline
from classify.report.figures import Panel, differences
from classify.report.findings import Findings, read_findings
from classify.report.leaks import leaks_section, seen_section
from classify.report.pages import Page, Picture, Section, render
from classify.report.sections import (
    FIRST_SHEETS,
    backbone_section,
    block_sections,
    classes_section,
    images_section,
    latents_section,
    reading_section,
    sheets,
    shots_section,
)
from classify.report.summary import BASELINE, Results
from classify.report.tables import difference
from classify.report.training import training_section
from classify.report.wording import number, percent
from classify.studies.results_folder import StudyFolder

TITLE = "Which augmentation gives the best classifier?"

SECTIONS: tuple[Callable[[Findings], Iterator[Section]], ...] = (
    backbone_section,
    reading_section,
    shots_section,
    block_sections,
    training_section,
    classes_section,
    latents_section,
    leaks_section,
    seen_section,
    images_section,
)
"""What stands below the first screen, in this order. A new section is a function and a line here."""


def write_report(folder: StudyFolder) -> None:
    """Write the tables, figures and pages of a study, and print its tables; nothing if no cell is finished.

    It is about the cells that the last run of the study asked for. Nothing but the folder is read, so a study that was
    run elsewhere can be told here.

    Args:
        folder: A study's, which was run to its end.

    Raises:
        UserError: If it is none, or one of another version that cannot be read.

    Example:
        >>> import classify
        >>> folder = classify.StudyFolder("runs/study")
        >>> classify.write_report(folder)
        >>> folder.table().groupby("row")["top1"].count().to_dict()
        {'nin/chm': 2, 'none': 2}
    """
    findings = read_findings(folder)
    if not findings.results:
        return
    config, summary = findings.config, findings.summary
    folder.write_table(flat_table(findings.results))
    page = Page(
        TITLE,
        headline(summary),
        remarks(findings),
        first_figure(findings),
        len(summary.blocks) > 1,
        tuple(sheets(findings)[:FIRST_SHEETS]),
        tuple(section for sections in SECTIONS for section in sections(findings)),
        findings.run.command,
        json.dumps(config, indent=2, ensure_ascii=False),
        f"Real images: sha256 {config['source']['sha256']}…; every cell's key and its dataset's fingerprint stand in "
        f"results.csv. " + ", ".join(f"{name} {version}" for name, version in config["versions"].items()),
    )
    render(folder, page)
    print_tables(findings, [page.headline, *page.remarks, *map(answer, summary.blocks)])


def remarks(findings: Findings) -> tuple[str, ...]:
    """What must be known of the headline: cells that failed, and whether the backbone can rank anything."""
    found = []
    if findings.missing:
        found.append(
            f"{findings.missing} of {len(findings.run.cells)} cells failed and are missing from every figure below."
        )
    if findings.adequacy is not None:
        seen = " It was judged by images that the extractor was trained on: see below."
        found.append(findings.adequacy.verdict(findings.shares) + (seen if findings.adequacy.extractor_saw else ""))
    return tuple(found)


def first_figure(findings: Findings) -> Picture | None:
    """The differences from real images alone in all blocks; None if there are none."""
    summary = findings.summary
    panels = [
        Panel(block.name, {line.row: summary.gains[block.name, line.row] for line in block.by_gain},
              100 * summary.visible(block))
        for block in summary.blocks
        if block.by_gain
    ]  # fmt: skip
    if not panels:
        return None
    file = findings.folder.figure("differences")
    differences(findings.folder.path / file, panels, max(block.seeds for block in summary.blocks))
    caption = (
        "Each row against real images alone, seed by seed; best first. Filled dot: significant after correction "
        "for all rows. Hollow dot: may be chance."
    )
    return Picture(file, "Difference from real images alone", caption)


def flat_table(results: Sequence[Results]) -> pd.DataFrame:
    """One line per cell, one column per figure."""
    flat = [
        {name: value for name, value in cell.items() if not isinstance(value, dict | list)}
        | cell["set"]
        | {f"seconds_{stage}": round(value, 3) for stage, value in cell["seconds"].items() if value is not None}
        | {f"cost_{part}": value for part, value in cell.get("cost", {}).items() if value is not None}
        for cell in results
    ]
    return pd.DataFrame(flat)


def print_tables(findings: Findings, sentences: Sequence[str]) -> None:
    """Print a short table of each block and what it says to the terminal."""
    summary = findings.summary
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=120)
    measure = next(iter(summary.measures), None)
    for block in summary.blocks:
        table = Table(title=f"{block.name}: {block.seeds} seeds, mean ± 95 % interval")
        for column in ("row", "top-1, %", f"against {BASELINE}", "p", *([measure] if measure else [])):
            table.add_column(column, justify="left" if column == "row" else "right", no_wrap=True)
        for line in block.lines:
            gain, p = (shown.text for shown in difference(line.gain))
            found = [number(line.measures[measure]) if measure in line.measures else "–"] if measure else []
            table.add_row(line.row, percent(line.accuracy), gain, p, *found)
        console.print(table)
    for sentence in sentences:
        console.print(sentence)
    console.print(f"report: {findings.folder.page('html')}", soft_wrap=True)
