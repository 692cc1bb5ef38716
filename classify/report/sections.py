"""What does a study's report show? One function per section: its tables, its charts and what to look for."""

from collections.abc import Iterator, Sequence

from augment.measure.latents import LatentStatistics
from augment.measure.metrics import is_frechet
from classify.report.answers import answer
from classify.report.figures import accuracy_against, accuracy_bars, accuracy_by_shots, synthetic_grid
from classify.report.findings import Findings
from classify.report.measures import measures_tables
from classify.report.pages import Picture, Section, Table, Value
from classify.report.statistics import ENOUGH, Estimate, estimate, rank_correlation
from classify.report.summary import BASELINE, Block, class_differences
from classify.report.tables import accuracy_table, pairs_table, scores_table, value
from classify.report.wording import TESTS, number, percent
from classify.studies.results_folder import StudyFolder
from classify.studies.rows import slug

FIRST_SHEETS = 10
"""Sheets of images on the first screen."""

GRID_ROWS = 3


def backbone_section(findings: Findings) -> Iterator[Section]:
    """The verdict on the backbone, which images it rests on, and who had seen them."""
    if findings.adequacy is not None:
        sentence = findings.adequacy.sentence(findings.shares)
        yield Section("Is the backbone good enough?", (sentence, findings.adequacy.judges))


def reading_section(findings: Findings) -> Iterator[Section]:
    """What intervals, tests and the smallest visible difference mean."""
    yield Section("How to read the figures", TESTS)


def block_sections(findings: Findings) -> Iterator[Section]:
    """Tables and charts of one classifier at one number of shots each."""
    for block in findings.summary.blocks:
        yield block_section(findings, block)


def block_section(findings: Findings, block: Block) -> Section:
    """Accuracies, differences, what was measured on the synthetic sets, and how the two go together."""
    folder, summary, cells = findings.folder, findings.summary, findings.cells(block)
    name = f"{slug(block.classifier)}-shots{block.shots}"
    accuracy = {line.row: line.accuracy for line in block.lines}
    file = folder.figure(f"accuracy-{name}")
    accuracy_bars(
        folder.path / file, accuracy, {row: [c["top1"] for c in cells if c["row"] == row] for row in accuracy}
    )
    luck = (
        "Large: mean and 95 % interval; small: seeds. The intervals hold the luck of the few-shot set, which all rows "
    )
    pictures = [Picture(file, "Accuracy", luck + "of a seed share: compare rows by their differences.")]
    for measure in filter(is_frechet, summary.measures):
        distances = {line.row: line.measures[measure].mean for line in block.lines if measure in line.measures}
        if len(distances) > 1:
            file = folder.figure(f"{slug(measure)}-{name}")
            accuracy_against(folder.path / file, accuracy, distances, f"{measure} (lower is closer)")
            caption = correlation([accuracy[row].mean for row in distances], list(distances.values()))
            pictures.append(Picture(file, f"Accuracy against {measure}", caption))
    tables = [("Accuracy", accuracy_table(block, summary.reference))]
    if block.pairs:
        tables.append(("What mean adjustment changes", pairs_table(block)))
    if summary.scores:
        tables.append(("Other scores of the classifier", scores_table(block, summary)))
    tables += measures_tables(block)
    caveats = dict.fromkeys(caveat for cell in cells for caveat in cell["caveats"])
    notes = (answer(block), *(f"{caveat}." for caveat in caveats))
    return Section(block.name, notes, tuple(tables), tuple(pictures))


def correlation(accuracy: Sequence[float], distance: Sequence[float]) -> str:
    """Whether nearer sets train better classifiers, if there are rows enough to tell."""
    question = "Does a synthetic set nearer to the real images train a better classifier? "
    found = rank_correlation(accuracy, distance)
    if found is None:
        return question + f"{len(accuracy)} rows are too few for a correlation: {ENOUGH} that differ are needed."
    return (
        f"{question}Then this falls. Rank correlation over {found.count} rows: {found.value:.2f}, 95 % interval "
        f"{found.low:.2f} to {found.high:.2f}."
    )


def shots_section(findings: Findings) -> Iterator[Section]:
    """Accuracy against the number of real images, for classifiers that were trained at several."""
    folder, summary = findings.folder, findings.summary
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
    if pictures:
        yield Section("Accuracy against shots", (), tuple(tables), tuple(pictures))


def classes_section(findings: Findings) -> Iterator[Section]:
    """Accuracy of each class under the baseline, and what each row changes."""
    tables = []
    for block in findings.summary.blocks:
        cells = findings.cells(block)
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
    if tables:
        yield Section("Differences by class", (note,), tuple(tables))


def latents_section(findings: Findings) -> Iterator[Section]:
    """Norm and channel bias of the inverted latents, and of what each row's sampler started from."""
    folder, results = findings.folder, findings.results
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
    if rows:
        yield Section("Latents before and after mixing", (note,), (("", table), costs))


def latents_costs(folder: StudyFolder) -> Table:
    """Seconds that a seed spends on each kind of latents, and how well they lead back to the images."""
    rows = []
    for kind, found in folder.inversions().items():
        images, seconds, psnr = (estimate([note[name] for note in found]) for name in ("new", "seconds", "psnr"))
        rows.append((Value(kind, kind), *(value(e, number(e)) for e in (images, seconds, psnr))))
    return Table(("latents", "new images", "seconds a seed", "round trip, dB"), tuple(rows))


def images_section(findings: Findings) -> Iterator[Section]:
    """The sheets of images that the first screen has no room for."""
    if rest := sheets(findings)[FIRST_SHEETS:]:
        yield Section("More images", (), (), tuple(rest))


def sheets(findings: Findings) -> list[Picture]:
    """Few-shot images, and the first synthetic ones of each row, the best rows first; a column per class."""
    folder, results, run = findings.folder, findings.results, findings.run
    seed, shots = min(cell["seed"] for cell in results), max(cell["shots"] for cell in results)
    caption = f"few-shot images of seed {run.seed}, a column per class; below, the synthetic images of each row"
    pictures = [Picture(folder.figure("real"), "Real", caption, True)]
    block = next(block for block in findings.summary.blocks if block.shots == shots)
    order = [line.row for line in block.by_gain]
    datasets: dict[str, list[str]] = {}
    for cell in sorted(results, key=lambda cell: order.index(cell["row"]) if cell["row"] in order else len(order)):
        if (cell["seed"], cell["shots"]) == (seed, shots) and cell["dataset"] is not None:
            rows = datasets.setdefault(cell["dataset"], [])
            if cell["row"] not in rows:
                rows.append(cell["row"])
    for dataset, rows in datasets.items():
        if (shard := folder.first_shard(dataset)) is not None:
            synthetic_grid(shard, GRID_ROWS).save(folder.path / folder.figure(dataset))
            pictures.append(Picture(folder.figure(dataset), ", ".join(rows), "", True))
    return pictures
