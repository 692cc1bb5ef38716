"""Does the winner hold on fresh folds? It is compared there with the best simpler candidates, fold by fold."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from classify.advice.bench import Bench, Score
from classify.advice.budget import Budget
from classify.advice.candidates import Candidate
from classify.advice.folds import Fold
from classify.advice.search import Outcome

LEAST_FOLDS = 2
"""For a spread."""


@dataclass(frozen=True)
class Confirmed:
    """What the candidates that were compared on fresh folds scored there.

    Attributes:
        scores: Of each candidate by its name, fold by fold; `none`, real images alone, comes first.
        ratio: Mean number of held-out images for each that is trained on.
    """

    scores: dict[str, list[Score]]
    ratio: float

    @property
    def folds(self) -> int:
        """Fresh folds that they were compared on."""
        return max(len(found) for found in self.scores.values())

    def describe(self) -> dict[str, Any]:
        """As JSON holds it."""
        scores = {name: [asdict(score) for score in found] for name, found in self.scores.items()}
        return {"candidates": scores, "ratio": self.ratio}


@dataclass(frozen=True)
class Finalists:
    """Who is compared on fresh folds.

    Attributes:
        winner: Of the search.
        simple: The best candidate without synthetic images, which may be the winner, or real images alone.
        candidates: Real images alone, these two, and the best plain method; each once.
    """

    winner: Candidate
    simple: Candidate
    candidates: tuple[Candidate, ...]


def finalists(outcomes: Sequence[Outcome], folds: int) -> Finalists:
    """Who is compared on fresh folds.

    Args:
        outcomes: Of the search; real images alone come first.
        folds: Of the search; a candidate that was run on fewer cannot win.
    """
    real = outcomes[0].scores
    whole = [one for one in outcomes if len(one.scores) == folds and not one.stopped]
    ranked = sorted(whole, key=lambda one: one.excess(real))
    names = [one.candidate for one in ranked]
    winner, simple = names[0], next(one for one in names if not one.is_synthetic)
    plain = [one for one in names if one.is_plain][:1]
    chosen = {one.name: one for one in (outcomes[0].candidate, winner, simple, *plain)}
    return Finalists(winner, simple, tuple(chosen.values()))


def confirm(
    bench: Bench, candidates: Sequence[Candidate], folds: Sequence[Fold], budget: Budget, tell: Callable[[str], None]
) -> Confirmed:
    """Run the candidates on fresh folds, all of them on one before the next, as long as there is time.

    Raises:
        CandidateFailed: If one cannot be run that could in the search.
    """
    scores: dict[str, list[Score]] = {one.name: [] for one in candidates}
    done: list[Fold] = []
    for fold in folds if len(candidates) > 1 else ():
        begun = budget.spent
        found = {one.name: bench.score(one, fold) for one in candidates}
        for name, score in found.items():
            scores[name].append(score)
        done.append(fold)
        budget.note()
        tell(f"fresh fold {len(done)} of {len(folds)}: {len(candidates)} candidates compared")
        if len(done) >= LEAST_FOLDS and budget.left < budget.spent - begun:
            break
    ratio = sum(fold.ratio for fold in done) / len(done) if done else 0.0
    return Confirmed(scores, ratio)
