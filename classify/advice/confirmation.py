"""Does the winner hold on fresh folds? It is compared there with the best simpler candidates, fold by fold."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from classify.advice.bench import Bench, Score
from classify.advice.budget import Budget
from classify.advice.candidates import Candidate
from classify.advice.folds import Fold

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
