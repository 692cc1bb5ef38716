"""What did the study find? `results.csv`, `report.md` and a self-contained `report.html`."""

import json
from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from augment.runtime.terminal import PlainConsole
from classify.report.leaks import leaks_section
from classify.report.pages import Page, Section, render
from classify.report.sections import (
    block_section,
    classes_section,
    images_section,
    latents_section,
    recognised_shares,
    shots_section,
)
from classify.report.summary import BASELINE, Results, Summary, summarize
from classify.report.tables import difference
from classify.report.wording import TESTS, number, percent
from classify.studies.folder import StudyFolder

TITLE = "Which augmentation gives the best classifier?"


def write_report(folder: StudyFolder) -> None:
    """Write the tables, figures and pages of a study, and print its tables; nothing if no cell is finished.

    It is about the cells that the last run of the study asked for. Nothing but the folder is read, so a study that was
    run elsewhere can be told here.

    Args:
        folder: A study's, which was run to its end.

    Raises:
        UserError: If it is none.

    Example:
        >>> import classify
        >>> folder = classify.StudyFolder("runs/study")
        >>> classify.write_report(folder)
        >>> folder.table().groupby("row")["top1"].count().to_dict()
        {'nin/chm': 2, 'none': 2}
    """
    run, config = folder.last_run(), folder.description()
    results = folder.results(run)
    if not results:
        return
    missing = len(run.cells) - len(results)
    summary = summarize(results, run.reference)
    adequacy = folder.adequacy()
    shares = {} if adequacy is None else recognised_shares(adequacy, results)
    answer = [summary.answer, *(block.answer for block in summary.blocks)]
    if missing:
        answer.insert(0, f"{missing} of {len(run.cells)} cells failed and are missing from every figure below.")
    if adequacy is not None:
        answer.insert(0, adequacy.verdict(shares))
    folder.write_table(flat_table(results))
    sections = [
        None if adequacy is None else Section("Is the backbone good enough?", adequacy.sentence(shares)),
        Section("How to read the figures", TESTS),
        shots_section(folder, summary),
        *(block_section(folder, block, summary, results) for block in summary.blocks),
        classes_section(summary, results),
        latents_section(folder, results),
        *leaks_section(folder),
        images_section(folder, results, run),
    ]
    page = Page(
        TITLE,
        tuple(answer),
        tuple(section for section in sections if section is not None),
        run.command,
        json.dumps(config, indent=2, ensure_ascii=False),
        f"Real images: sha256 {config['source']['sha256']}…; every cell's key and its dataset's fingerprint stand in "
        f"results.csv. " + ", ".join(f"{name} {version}" for name, version in config["versions"].items()),
    )
    render(folder, page)
    print_tables(summary, answer, folder)


def flat_table(results: Sequence[Results]) -> pd.DataFrame:
    """One line per cell, one column per figure."""
    flat = [
        {name: value for name, value in cell.items() if not isinstance(value, dict | list)}
        | cell["set"]
        | {f"seconds_{stage}": round(value, 3) for stage, value in cell["seconds"].items() if value is not None}
        for cell in results
    ]
    return pd.DataFrame(flat)


def print_tables(summary: Summary, answer: Sequence[str], folder: StudyFolder) -> None:
    """Print a short table of each block and the answer to the terminal."""
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
    for sentence in answer:
        console.print(sentence)
    console.print(f"report: {folder.page('html')}", soft_wrap=True)
