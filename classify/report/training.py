"""How long was trained, had it converged, and what did it cost?"""

from collections.abc import Iterator

import numpy as np

from classify.report.figures import loss_curves
from classify.report.findings import Findings
from classify.report.pages import Picture, Section, Table, Value
from classify.report.statistics import Spread
from classify.report.summary import Block, cost_unit
from classify.report.wording import seconds
from classify.studies.rows import slug

STILL = 0.05
"""A loss that falls by more than this share over the last fifth of the steps is said to be still falling."""

UNITS = {
    "processor": "Seconds of the processor, which another load of the machine changes little",
    "device": "Seconds for which the accelerator was held",
    "clock": "Seconds by the clock, which whatever else ran on the machine makes longer",
}


def training_section(findings: Findings) -> Iterator[Section]:
    """The steps, the curves of the loss, and the costs of each row."""
    steps, batches = findings.config["steps"], findings.config["rows"].values()
    sizes = sorted({row["batches"]["batch_size"] for row in batches})
    notes = [f"Every classifier was trained for {steps} optimizer steps of {' or '.join(map(str, sizes))} images."]
    pictures, tables = [], []
    for block in findings.summary.blocks:
        curves = mean_curves(findings, block)
        if curves:
            file = findings.folder.figure(f"loss-{slug(block.classifier)}-shots{block.shots}")
            loss_curves(findings.folder.path / file, curves, steps)
            pictures.append(Picture(file, block.name, convergence(curves)))
        tables.append((block.name, costs_table(findings, block)))
    if pictures:
        notes.append(
            "The loss is that of the training batches, mean over seeds. The learning rate falls to zero at the last "
            "step, so every curve flattens: a steep middle says that more steps would change the ranks. Losses of rows "
            "with other images or augmentations are not on one scale."
        )
    else:
        notes.append("This study was run before training losses were kept, so it cannot tell whether they converged.")
    yield Section("Training and its cost", tuple(notes), tuple(tables), tuple(pictures))


def mean_curves(findings: Findings, block: Block) -> dict[str, list[float]]:
    """The loss of each row, mean over the seeds that kept it."""
    found: dict[str, list[list[float]]] = {}
    for cell in findings.cells(block):
        if cell.get("loss"):
            found.setdefault(cell["row"], []).append(cell["loss"])
    shortest = {row: min(map(len, curves)) for row, curves in found.items()}
    return {row: np.mean([c[: shortest[row]] for c in curves], axis=0).tolist() for row, curves in found.items()}


def convergence(curves: dict[str, list[float]]) -> str:
    """How much the losses still fell at the end."""
    falls = {row: fall(curve) for row, curve in curves.items()}
    falling = [row for row, share in falls.items() if share > STILL]
    if not falling:
        return f"Converged: over the last fifth of the steps no loss fell by more than {100 * STILL:.0f} %."
    most = max(falling, key=lambda row: falls[row])
    return (
        f"Not converged: over the last fifth of the steps the loss of {len(falling)} of {len(falls)} rows still fell "
        f"by more than {100 * STILL:.0f} %, most that of {most}, by {100 * falls[most]:.0f} %."
    )


def fall(curve: list[float]) -> float:
    """Share by which a loss falls from the second last fifth of its curve to the last; 0 for one too short to tell."""
    fifth = len(curve) // 5
    if fifth == 0:
        return 0.0
    before, after = np.mean(curve[-2 * fifth : -fifth]), np.mean(curve[-fifth:])
    return float((before - after) / before) if before > 0 else 0.0


def costs_table(findings: Findings, block: Block) -> Table:
    """What a row costs: its synthetic set and one training."""
    unit = cost_unit(findings.cells(block))

    def cell(e: Spread | None) -> Value:
        return Value(seconds(e), None if e is None else e.mean)

    rows = tuple((Value(line.row, line.row), cell(line.synthesis), cell(line.training)) for line in block.lines)
    note = f"{UNITS[unit]}; mean ± standard deviation over seeds. Latents are not counted: see below."
    head = ("row", f"a synthetic set, {unit} s", f"a training{'' if unit == 'clock' else ' and its test'}, {unit} s")
    return Table(head, rows, (note,))
