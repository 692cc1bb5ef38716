"""What is the answer of an advice? Which candidate is recommended, and what could have been seen: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from classify.advice.bench import Score
from classify.advice.confirmation import Confirmed
from classify.report.power import detectable, pooled_deviation
from classify.report.statistics import Comparison, compare_resampled, corrected
from classify.report.summary import BASELINE

Kind = Literal["recipe", "policy", "unseen"]
"""Synthetic images are worth it; a policy does as well; no difference could be shown."""


@dataclass(frozen=True)
class Verdict:
    """What fresh folds say of the finalists.

    Attributes:
        kind: Of the answer.
        recommended: Name of the candidate that is recommended.
        winner: Name of the search's winner.
        simple: Name of the best candidate without synthetic images.
        accuracy: Of each finalist but real images alone: its gain in accuracy over these.
        log_loss: The same of the log-loss, where less is better; corrected for all finalists.
        versus: The winner's log-loss against that of the best candidate without synthetic images; None if it is one.
        visible: The smallest gain in accuracy that could have been seen; NaN if unknown.
        folds: That were compared.
    """

    kind: Kind
    recommended: str
    winner: str
    simple: str
    accuracy: dict[str, Comparison]
    log_loss: dict[str, Comparison]
    versus: Comparison | None
    visible: float
    folds: int


def decide(confirmed: Confirmed, winner: str, simple: str) -> Verdict:
    """Recommend synthetic images only where fresh folds show them to be better than real images alone.

    A policy is free, and wins where it is shown to help and synthetic images are not shown to do more. Log-loss
    decides, since it tells more of few images than accuracy does.

    Args:
        confirmed: Scores on fresh folds; real images alone are among them.
        winner: Of the search.
        simple: The best candidate of the search without synthetic images.
    """
    scores, ratio = confirmed.scores, confirmed.ratio
    if not scores[BASELINE]:
        return Verdict("unseen", BASELINE, winner, simple, {}, {}, None, float("nan"), 0)
    others = [name for name in scores if name != BASELINE]
    accuracy = {name: versus(scores[name], scores[BASELINE], "accuracy", ratio) for name in others}
    log_loss = corrected({name: versus(scores[name], scores[BASELINE], "log_loss", ratio) for name in others})
    synthetic = winner != simple
    against = versus(scores[winner], scores[simple], "log_loss", ratio) if synthetic else None
    kind, recommended = choose(winner, simple, log_loss, against)
    folds = len(scores[BASELINE])
    return Verdict(
        kind, recommended, winner, simple, accuracy, log_loss, against, smallest(accuracy, folds, ratio), folds
    )


def choose(winner: str, simple: str, log_loss: dict[str, Comparison], against: Comparison | None) -> tuple[Kind, str]:
    """The kind of the answer, and who is recommended."""
    policy_helps = simple != BASELINE and better(log_loss[simple])
    if against is not None and better(log_loss[winner]) and (better(against) or not policy_helps):
        return "recipe", winner
    if policy_helps:
        return "policy", simple
    return "unseen", simple


def better(comparison: Comparison) -> bool:
    """Whether a log-loss is shown to be lower."""
    return comparison.significant and comparison.change.mean < 0


def versus(first: Sequence[Score], second: Sequence[Score], what: str, ratio: float) -> Comparison:
    """The difference of a score, fold by fold, by the corrected resampled t-test."""
    return compare_resampled(
        [getattr(score, what) for score in first], [getattr(score, what) for score in second], ratio
    )


def smallest(accuracy: dict[str, Comparison], folds: int, ratio: float) -> float:
    """The smallest difference in accuracy that four of five such advices would find.

    The spread of the folds' differences is what fresh folds showed of all finalists together, and its mean is as
    uncertain as that of overlapping folds is: √(1 + J n2/n1) times as much as if they were independent.
    """
    spread = pooled_deviation(accuracy.values())
    return min(detectable(spread * float(np.sqrt(1 + folds * ratio)), folds, max(len(accuracy), 1)), 1.0)
