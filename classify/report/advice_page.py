"""How does an advice tell what it found? As a page like a study's, as Markdown, and as JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from classify.advice.bench import Score
from classify.advice.run import Findings
from classify.report.advice_answer import answer, grounds, more_images, price, shown, spent
from classify.report.advice_figures import course_figure, finalists_figure
from classify.report.figures import synthetic_grid
from classify.report.pages import Page, Picture, Section, Table, Value, render
from classify.report.statistics import Comparison
from classify.report.summary import BASELINE
from classify.report.verdict import Verdict
from classify.report.wording import p_value, points, rounded
from classify.studies.picture import real_grid

TITLE = "Is augmentation worth it here, and which?"
ROWS = 4
"""Images of each class that are shown."""

TERMS = (
    "A fold trains on some of the images and is judged by the others, which are real and were held out; no test image "
    "was touched. Near-duplicates stand in one fold. Synthetic images of a fold are made from its training images.",
    "Log-loss is the mean of -log(probability given to the true class): 0 is perfect. It decides, since it tells more "
    "of few images than accuracy, which only counts hits.",
    "The winner of a search was lucky too. So it was compared with simpler candidates on fresh folds that played no "
    "part in the choice. These deal the same images anew: how lucky the images themselves are, only others can tell.",
    "± is half of the 95 % interval of the corrected resampled t-test (Nadeau & Bengio 2003), which counts that folds "
    "share training images; p is corrected by Holm for all finalists.",
)


def write_page(findings: Findings, verdict: Verdict, commands: Sequence[str], command: str) -> None:
    """Write `advice.html`, `advice.md` and `advice.json`."""
    folder = findings.folder
    described = folder.description()
    said = answer(findings, verdict)
    page = Page(
        TITLE,
        said,
        tuple(remarks(findings, verdict)),
        first_figure(findings, verdict),
        True,
        tuple(sheets(findings)),
        tuple(sections(findings, verdict, commands)),
        command,
        json.dumps(described["config"], indent=2, ensure_ascii=False),
        "Made with " + ", ".join(f"{name} {version}" for name, version in described["versions"].items()),
    )
    render(folder, page)
    folder.write_advice(as_json(findings, verdict, said, commands))


def remarks(findings: Findings, verdict: Verdict) -> Iterator[str]:
    """What the answer rests on."""
    yield grounds(verdict)
    yield more_images(verdict)
    yield spent(findings)
    counts = findings.advisor.per_class
    if max(counts.values()) > findings.advisor.most_shots:
        shots = findings.advisor.most_shots
        most = max(counts.values())
        yield f"Every command takes equally many images of each class: {shots} of up to {most} were used."
    if findings.groups:
        named = ", ".join(findings.groups[0])
        count = len(findings.groups)
        sets = "1 group of images is" if count == 1 else f"{count} groups of images are"
        yield f"{sets} nearly the same and stand together in one fold ({named})."


def first_figure(findings: Findings, verdict: Verdict) -> Picture | None:
    """The finalists against real images alone."""
    if not verdict.accuracy:
        return None
    file = findings.folder.figure("finalists")
    finalists_figure(findings.folder.path / file, verdict.accuracy, verdict.log_loss, verdict.visible)
    caption = (
        f"Each finalist against real images alone on {verdict.folds} fresh folds, with its 95 % interval. Filled: "
        "shown by the log-loss, corrected for all of them. Hollow: may be chance."
    )
    return Picture(file, "Do they help?", caption)


def sheets(findings: Findings) -> Iterator[Picture]:
    """Real images, and what the finalists made from those of a fresh fold."""
    folder, advisor = findings.folder, findings.advisor
    file = folder.figure("real")
    real_grid(advisor.images, advisor.few_shot, ROWS).save(folder.path / file)
    yield Picture(file, "real images", "the first of each class", pixelated=True)
    for number, (name, scores) in enumerate(findings.confirmed.scores.items()):
        dataset = next((score.dataset for score in scores if score.dataset is not None), None)
        shard = None if dataset is None else folder.trials.first_shard(dataset)
        if shard is not None:
            file = folder.figure(f"synthetic-{number}")
            synthetic_grid(shard, ROWS).save(folder.path / file)
            yield Picture(file, name, "synthetic", pixelated=True)


def sections(findings: Findings, verdict: Verdict, commands: Sequence[str]) -> Iterator[Section]:
    """What stands below the answer."""
    steps = [f"{n}. {command}" for n, command in enumerate(commands, 1)]
    expected = findings.confirmed.scores[verdict.recommended] if verdict.folds else []
    if expected:
        right = f"{100 * mean(expected, 'accuracy'):.0f} %"
        steps.append(
            f"The classifier is trained on all images, so that none is left to test it on. Expect what fresh folds "
            f"showed of those trained on fewer: {right} of held-out images were recognised."
        )
    yield Section("What to do now", ("These commands make what is recommended, from all images:", *steps))
    if verdict.folds:
        yield Section("The finalists on fresh folds", (), (("", finalists_table(findings, verdict)),))
    file = findings.folder.figure("course")
    course_figure(findings.folder.path / file, findings.outcomes)
    picture = Picture(
        file, "The course of the search", "From left to right as they were tried. Small dots: folds. Large: their mean."
    )
    yield Section("What was tried", (), (("", search_table(findings)),), (picture,))
    dropped = {one.candidate.name: one.dropped for one in findings.outcomes if one.dropped} | findings.left_out
    if dropped:
        yield Section("What was left out", tuple(f"{name}: {reason}" for name, reason in dropped.items()))
    yield Section("How to read this", TERMS)


def finalists_table(findings: Findings, verdict: Verdict) -> Table:
    """Scores of the finalists on fresh folds, and what they differ by from real images alone."""
    head = (
        "candidate",
        "↑ accuracy, %",
        "↓ log-loss",
        "↑ accuracy, gain",
        "↓ log-loss, change",
        "p",
        "its images cost",
    )
    rows = []
    for name, scores in findings.confirmed.scores.items():
        gain, change = verdict.accuracy.get(name), verdict.log_loss.get(name)
        synthetic = any(score.dataset is not None for score in scores)
        rows.append(
            (
                Value(shown(name), name),
                Value(f"{100 * mean(scores, 'accuracy'):.1f}", mean(scores, "accuracy")),
                Value(f"{mean(scores, 'log_loss'):.3f}", mean(scores, "log_loss")),
                Value("–") if gain is None else Value(points(gain.change), gain.change.mean),
                *difference(change),
                Value(price(findings, name) if synthetic else "free"),
            )
        )
    notes = ("Gain in points of accuracy, and change of the log-loss, against real images alone, with 95 % intervals.",)
    return Table(head, tuple(rows), notes)


def difference(change: Comparison | None) -> tuple[Value, Value]:
    """A change of the log-loss, and its p."""
    if change is None:
        return Value("–"), Value("–")
    strong = change.significant
    text = rounded(change.change.mean, change.change.half)
    return Value(text, change.change.mean, strong), Value(p_value(change), None, strong)


def search_table(findings: Findings) -> Table:
    """All candidates that were run, the best first."""
    real = findings.outcomes[0].scores
    run = sorted((one for one in findings.outcomes if one.scores), key=lambda one: one.excess(real))
    rows = []
    for one in run:
        scores = list(one.scores.values())
        gain = mean(scores, "accuracy") - mean([real[score.fold] for score in scores], "accuracy")
        name = one.candidate.name
        rows.append(
            (
                Value(shown(name), name, strong=one.candidate == findings.finalists.winner),
                Value(f"{one.excess(real):+.3f}", one.excess(real)),
                Value(f"{100 * gain:+.1f}", gain),
                Value(f"{len(scores)} of {findings.folds}", float(len(scores))),
                Value("given up as worse" if one.stopped else "run to the end"),
            )
        )
    notes = ("Means over the folds of the search, against real images alone on the same folds. Bold: the winner.",)
    return Table(("candidate", "↓ log-loss", "↑ accuracy, points", "folds", "course"), tuple(rows), notes)


def mean(scores: Sequence[Score], what: str) -> float:
    """Of one of the scores."""
    return float(sum(getattr(score, what) for score in scores) / len(scores))


def as_json(findings: Findings, verdict: Verdict, said: str, commands: Sequence[str]) -> dict[str, Any]:
    """All of it for a program; what is not a number is null."""
    found = {
        "answer": said,
        "commands": list(commands),
        **asdict(verdict),
        "seconds": findings.seconds,
        "hours": findings.advisor.hours,
        "baseline": BASELINE,
        "near_duplicates": findings.groups,
        "left_out": findings.left_out,
        "confirmed": findings.confirmed.describe(),
        "search": (findings.folder.confirmed() or {})["search"],
    }
    return dict(finite(found))


def finite(value: Any) -> Any:
    """NaN, which JSON does not have, as None."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and value != value else value
