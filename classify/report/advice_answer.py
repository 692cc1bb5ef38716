"""What does an advice say in words? One answer, what it rests on, and what more images would allow."""

import math

from classify.advice.run import Findings
from classify.report.statistics import Comparison
from classify.report.summary import BASELINE
from classify.report.verdict import Verdict
from classify.report.wording import points, rough, rounded

HOUR = 3600.0


def answer(findings: Findings, verdict: Verdict) -> str:
    """The answer, in one or two sentences."""
    name = verdict.recommended
    if verdict.kind == "recipe":
        cost = price(findings, name)
        return (
            f"Use synthetic images by the recipe '{name}'. Against real images alone it should bring "
            f"{points(verdict.accuracy[name].change)} points of accuracy, and making them costs {cost}."
        )
    if verdict.kind == "policy":
        return (
            f"Synthetic images bring no more than the classical policy '{name}': use that, it is free. Against real "
            f"images alone it should bring {points(verdict.accuracy[name].change)} points of accuracy."
        )
    return unseen(findings, verdict)


def unseen(findings: Findings, verdict: Verdict) -> str:
    """That nothing was shown, how small a difference could have been, and what to do all the same."""
    shots = findings.advisor.most_shots
    if verdict.folds == 0:
        run = sum(bool(one.scores) for one in findings.outcomes)
        if run == 1:
            return "There was time for real images alone and for nothing to compare them with: give more --hours."
        return f"Of {run} candidates real images alone were the best in the search. Keep to real images alone."
    size = rough([100 * verdict.visible])
    images = f"With {shots} images per class"
    if size is None:
        seen = f"{images} no difference from real images alone was seen"
    elif verdict.visible >= 1:
        seen = f"{images} and {verdict.folds} fresh folds no difference of any size could have been seen for sure"
    else:
        seen = f"{images} no difference below about {size} points of accuracy could have been seen, and none was"
    if verdict.recommended == BASELINE:
        return f"{seen}. Keep to real images alone."
    return f"{seen}. '{verdict.recommended}' is free and did best in the search; keep to that, or to real images alone."


def more_images(verdict: Verdict) -> str:
    """What more images would allow: the spread over folds falls with the root of the images that they hold out."""
    sizes = [rough([100 * verdict.visible / math.sqrt(times)]) for times in (2, 4)]
    if verdict.folds == 0 or None in sizes or verdict.visible >= 1:
        return "More images per class, or more fresh folds (--confirm), would allow to see smaller differences."
    return (
        f"The smallest gain that could have been found is about {rough([100 * verdict.visible])} points of accuracy. "
        f"With twice as many images per class it would be about {sizes[0]} points, with four times as many "
        f"about {sizes[1]}."
    )


def grounds(verdict: Verdict) -> str:
    """What the fresh folds showed."""
    if not verdict.log_loss:
        return "Real images alone were best in the search, so that nothing was left to be compared with them."
    name = verdict.recommended if verdict.recommended != BASELINE else next(iter(verdict.log_loss))
    text = (
        f"On {verdict.folds} fresh folds, which played no part in the choice, '{name}' changed the log-loss of "
        f"held-out images by {loss(verdict.log_loss[name])} against real images alone (less is better)"
    )
    if verdict.versus is not None and verdict.simple != BASELINE:
        text += f", and the winner '{verdict.winner}' by {loss(verdict.versus)} against '{verdict.simple}'"
    return text + "."


def loss(comparison: Comparison) -> str:
    """A difference of log-losses with its interval and what it is worth."""
    change = comparison.change
    if not change.has_interval:
        return rounded(change.mean, float("nan"))
    sure = "shown" if comparison.significant else "may be chance"
    return f"{rounded(change.mean, change.half)} ({sure})"


def price(findings: Findings, name: str) -> str:
    """What the synthetic set of a recipe costs once, its tuning included."""
    scores = findings.confirmed.scores[name]
    known = [score.synthesize for score in scores if score.synthesize is not None]
    if not known:
        return "an unknown time, since the sets were made in several runs"
    seconds = sum(known) / len(known)
    if scores[0].unit == "device":
        return f"about {seconds / HOUR:.2g} GPU-hours"
    return f"about {in_words(seconds)} of one processor core"


def in_words(seconds: float) -> str:
    """A time in the unit that fits it."""
    for unit, size in (("hours", HOUR), ("minutes", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def shown(name: str) -> str:
    """What a candidate is called for people."""
    return "real images alone" if name == BASELINE else name


def spent(findings: Findings) -> str:
    """How much of the budget was used."""
    run = sum(bool(one.scores) for one in findings.outcomes)
    given_up = sum(one.stopped for one in findings.outcomes)
    told = (
        f"{run} candidates were run on up to {findings.folds} folds, {given_up} of them given up early as worse; "
        f"all of it took {in_words(findings.seconds)} of the {in_words(findings.advisor.hours * HOUR)} that were given."
    )
    if any(one.scores and one.candidate.is_synthetic for one in findings.outcomes):
        return told
    return f"{told} No synthetic images were tried: more --hours, or fewer --steps, would allow that."
