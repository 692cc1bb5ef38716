"""What does a study's report show? One function per section: its tables, its charts and what to look for."""

import math
from collections.abc import Sequence

from augment.measure.adequacy import Adequacy
from augment.measure.latents import LatentStatistics
from augment.measure.metrics import is_frechet
from classify.report.figures import accuracy_against, accuracy_bars, accuracy_by_shots, synthetic_grid
from classify.report.pages import Picture, Section, Table, Value
from classify.report.statistics import Estimate, estimate, rank_correlation
from classify.report.summary import BASELINE, Block, Results, Summary, class_differences
from classify.report.tables import accuracy_table, measures_table, pairs_table, value
from classify.report.wording import number, percent
from classify.studies.folder import LastRun, StudyFolder
from classify.studies.rows import slug

GRID_ROWS = 3


def recognised_shares(adequacy: Adequacy, results: Sequence[Results]) -> dict[str, float]:
    """The share of each row's images whose class is recognised, by the extractor that judged the backbone."""
    found: dict[str, list[float]] = {}
    for cell in results:
        if adequacy.recognition in cell["set"]:
            found.setdefault(cell["row"], []).append(cell["set"][adequacy.recognition])
    return {row: sum(values) / len(values) for row, values in found.items()}


def block_section(folder: StudyFolder, block: Block, summary: Summary, results: Sequence[Results]) -> Section:
    """Tables and charts of one classifier at one number of shots."""
    name = f"{slug(block.classifier)}-shots{block.shots}"
    accuracy = {line.row: line.accuracy for line in block.lines}
    members = [c for c in results if (c["classifier"], c["shots"]) == (block.classifier, block.shots)]
    seeds = {row: [cell["top1"] for cell in members if cell["row"] == row] for row in accuracy}
    file = folder.figure(f"accuracy-{name}")
    accuracy_bars(folder.path / file, accuracy, seeds)
    pictures = [Picture(file, "Accuracy", "Large: mean and 95 % interval; small: seeds.")]
    for measure in filter(is_frechet, summary.measures):
        distances = {line.row: line.measures[measure].mean for line in block.lines if measure in line.measures}
        if len(distances) > 1:
            file = folder.figure(f"{slug(measure)}-{name}")
            accuracy_against(folder.path / file, accuracy, distances, f"{measure} (lower is closer)")
            caption = "Does a synthetic set nearer to the real images train a better classifier?"
            found = rank_correlation([accuracy[row].mean for row in distances], list(distances.values()))
            if found is not None:
                caption += f" Then this falls; rank correlation over {len(distances)} rows: {found:.2f}."
            pictures.append(Picture(file, f"Accuracy against {measure}", caption))
    if len(accuracy) > 1:
        costs = {line.row: line.cost for line in block.lines if not math.isnan(line.cost)}
        label = "seconds of synthesis and training"
        file = folder.figure(f"cost-{name}")
        accuracy_against(folder.path / file, accuracy, costs, label, front=True)
        caption = "Grey line: rows that no cheaper one beats (Pareto front). Latents are not counted: see below."
        pictures.append(Picture(file, "Accuracy against cost", caption))
    tables = [("", accuracy_table(block, summary.reference)), ("Other measures", measures_table(block, summary))]
    if block.pairs:
        tables.append(("What mean adjustment changes", pairs_table(block)))
    caveats = dict.fromkeys(caveat for cell in members for caveat in cell["caveats"])
    note = ". ".join((f"{block.seeds} {'seed' if block.seeds == 1 else 'seeds'}", *caveats)) + "."
    return Section(block.name, note, tuple(tables), tuple(pictures))


def shots_section(folder: StudyFolder, summary: Summary) -> Section | None:
    """Accuracy against the number of real images, for classifiers that were trained at several."""
    pictures, tables = [], []
    for classifier in dict.fromkeys(block.classifier for block in summary.blocks):
        blocks = [block for block in summary.blocks if block.classifier == classifier]
        if len(blocks) < 2:
            continue
        curves: dict[str, dict[int, Estimate]] = {}
        for block in blocks:
            for line in block.lines:
                curves.setdefault(line.row, {})[block.shots] = line.accuracy
        file = folder.figure(f"shots-{slug(classifier)}")
        accuracy_by_shots(folder.path / file, curves)
        pictures.append(Picture(file, classifier, f"Black, with its 95 % interval: {BASELINE}."))
        shots = [block.shots for block in blocks]
        rows = tuple(
            (Value(row, row), *(value(curve.get(n), percent(curve[n]) if n in curve else "") for n in shots))
            for row, curve in curves.items()
        )
        tables.append((classifier, Table(("row", *(f"{n} {'shot' if n == 1 else 'shots'}, %" for n in shots)), rows)))
    return Section("Accuracy against shots", "", tuple(tables), tuple(pictures)) if pictures else None


def classes_section(summary: Summary, results: Sequence[Results]) -> Section | None:
    """Accuracy of each class under the baseline, and what each row changes."""
    tables = []
    for block in summary.blocks:
        cells = [c for c in results if (c["classifier"], c["shots"]) == (block.classifier, block.shots)]
        if BASELINE not in {cell["row"] for cell in cells}:
            continue
        baseline, changes = class_differences(cells)
        largest = max(changes.abs().to_numpy().max(initial=0), 1e-9)
        first = (Value(f"{BASELINE}, %"), *(Value(f"{100 * x:.1f}", x) for x in baseline.to_numpy()[0]))
        others = [
            (Value(str(row), str(row)), *(Value(f"{100 * x:+.1f}", x, shade=x / largest) for x in values))
            for row, values in zip(changes.index, changes.to_numpy(), strict=True)
        ]
        tables.append((block.name, Table(("row", *map(str, baseline.columns)), (first, *others))))
    note = f"First line: accuracy of {BASELINE}, %. Others: differences from it, points, means over seeds."
    return Section("Differences by class", note, tuple(tables)) if tables else None


def latents_section(folder: StudyFolder, results: Sequence[Results]) -> Section | None:
    """Norm and channel bias of the inverted latents, and of what each row's sampler started from."""
    shots = max((cell["shots"] for cell in results if cell["dataset"]), default=0)
    made = {(c["row"], c["seed"]): c["dataset"] for c in results if c["dataset"] and c["shots"] == shots}
    seeds = sorted({seed for _, seed in made})
    before = [folder.inversion("inverted", shots, seed) for seed in seeds]
    notes = {"sources (inverted images)": [note["latents"] for note in before if note is not None]}
    for (row, _), dataset in made.items():
        notes.setdefault(row, []).append((folder.set_note(dataset) or {}).get("latents"))
    rows = []
    for name, found in notes.items():
        statistics = [LatentStatistics(**latents) for latents in found if latents is not None]
        if statistics:
            estimates = [estimate([getattr(s, field) for s in statistics]) for field in ("norm", "norm_spread", "bias")]
            rows.append((Value(name, name), *(value(e, number(e)) for e in estimates)))
    note = (
        f"At t = T, {shots} shots; mean ± 95 % interval over seeds. Norm over √L is 1 for Gaussian noise; channel bias "
        f"is the largest magnitude among the channels' means, 0 for Gaussian noise."
    )
    table = Table(("latents", "norm/√L", "its spread", "channel bias"), tuple(rows))
    costs = ("What latents cost: each seed makes them once, for all rows that begin with them", latents_costs(folder))
    return Section("Latents before and after mixing", note, (("", table), costs)) if rows else None


def latents_costs(folder: StudyFolder) -> Table:
    """Seconds that a seed spends on each kind of latents, and how well they lead back to the images."""
    rows = []
    for kind, found in folder.inversions().items():
        images, seconds, psnr = (estimate([note[name] for note in found]) for name in ("new", "seconds", "psnr"))
        rows.append((Value(kind, kind), *(value(e, number(e)) for e in (images, seconds, psnr))))
    return Table(("latents", "new images", "seconds a seed", "round trip, dB"), tuple(rows))


def images_section(folder: StudyFolder, results: Sequence[Results], run: LastRun) -> Section:
    """Few-shot images and the first synthetic ones, a column per class."""
    seed, shots = min(cell["seed"] for cell in results), max(cell["shots"] for cell in results)
    caption = f"Few-shot images of seed {run.seed}, a column per class."
    pictures = [Picture(folder.figure("real"), "Real", caption, True)]
    datasets: dict[str, list[str]] = {}
    for cell in results:
        rows = datasets.setdefault(cell["dataset"], []) if (cell["seed"], cell["shots"]) == (seed, shots) else []
        if cell["row"] not in rows:
            rows.append(cell["row"])
    for dataset, rows in datasets.items():
        if dataset is not None and (shard := folder.first_shard(dataset)) is not None:
            synthetic_grid(shard, GRID_ROWS).save(folder.path / folder.figure(dataset))
            pictures.append(Picture(folder.figure(dataset), ", ".join(rows), "First synthetic images.", True))
    note = f"{shots} shots, seed {seed}. All rows with the same mixing draw the same sources with the same weights."
    return Section("Images", note, (), tuple(pictures))
