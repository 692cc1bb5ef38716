"""What became of the candidates of a search, and which of them go on to the fresh folds?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classify.advice.bench import Bench, Score
from classify.advice.candidates import Candidate
from classify.advice.folds import Fold
from classify.advice.proposals import Decided

KNOWN = "was tried before"


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        candidate: It.
        scores: On the folds that it was run on, by their number.
        stopped: Whether it was given up as worse than the best.
        dropped: Why it was not run at all.
    """

    candidate: Candidate
    scores: Mapping[int, Score]
    stopped: bool = False
    dropped: str = ""

    def excess(self, real: Mapping[int, Score]) -> float:
        """Mean log-loss above that of real images alone, on the same folds; below 0 is better."""
        differences = [score.log_loss - real[number].log_loss for number, score in self.scores.items()]
        return sum(differences) / len(differences)


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


def outcomes_of(bench: Bench, decided: Sequence[Decided], folds: Sequence[Fold]) -> list[Outcome]:
    """What became of the candidates that the search is done with, without those that were proposed twice."""
    of_number = {fold.number: fold for fold in folds}
    found = []
    for one in decided:
        if one.dropped != KNOWN:
            run = () if one.dropped else one.folds
            scores = {number: bench.score(one.candidate, of_number[number]) for number in run}
            found.append(Outcome(one.candidate, scores, one.stopped, one.dropped))
    return found


def finalists(outcomes: Sequence[Outcome], folds: int) -> Finalists:
    """Who is compared on fresh folds.

    Args:
        outcomes: Of the search; real images alone come first.
        folds: Of the search; a candidate that was run on fewer cannot win.
    """
    real = outcomes[0].scores
    whole = [one for one in outcomes if len(one.scores) == folds and not one.stopped]
    names = [one.candidate for one in sorted(whole, key=lambda one: one.excess(real))]
    winner, simple = names[0], next(one for one in names if not one.is_synthetic)
    plain = [one for one in names if one.is_plain][:1]
    chosen = {one.name: one for one in (outcomes[0].candidate, winner, simple, *plain)}
    return Finalists(winner, simple, tuple(chosen.values()))
