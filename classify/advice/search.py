"""Which candidate is the best inside the few-shot set? Proposed, run on folds, and given up once it is worse."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from augment.errors import UserError
from classify.advice.bench import Bench
from classify.advice.budget import Budget, Pace
from classify.advice.candidates import Candidate
from classify.advice.folds import Fold
from classify.advice.outcomes import KNOWN, finalists, outcomes_of
from classify.advice.preflight import why
from classify.advice.proposals import Decided, Proposal, Proposals

log = logging.getLogger(__name__)

IN_A_ROW = 15
"""Proposals that are known, cannot be run or take too long, after which the search has nothing left to try."""


@dataclass(frozen=True)
class Search:
    """A search over the folds that are not kept fresh.

    Args:
        bench: Runs candidates.
        proposals: Proposes them.
        folds: That it may use.
        budget: In seconds.
        pace: Tells what a candidate will take.
        fresh: Folds that the confirmation will need.
        tell: Hears what happens, in a sentence.
    """

    bench: Bench
    proposals: Proposals
    folds: Sequence[Fold]
    budget: Budget
    pace: Pace
    fresh: int
    tell: Callable[[str], None]

    def run(self) -> None:
        """Try candidates until time, number or ideas run out.

        Raises:
            UserError: If not even real images alone can be run.
        """
        decided = self.proposals.decided()
        idle, most = 0, self.bench.advisor.candidates
        while idle < IN_A_ROW and (most is None or len(run_of(decided)) < most):
            if decided and not self._has_time(self._costs(decided[0].candidate), decided):
                break  # no candidate takes less than real images alone
            proposal = self.proposals.ask()
            reason = self._reason_against(proposal.candidate, decided)
            if reason:
                proposal.drop(reason)
                idle += 1
                if reason != KNOWN:
                    self.tell(f"{proposal.candidate.name}: left out, {reason}")
            else:
                idle = 0 if self._try(proposal, decided) else idle + 1
            decided = self.proposals.decided()

    def _costs(self, candidate: Candidate) -> float:
        return self.pace.seconds(candidate, len(self.folds))

    def _reserve(self, decided: Sequence[Decided]) -> float:
        """What the confirmation would take if the search ended now."""
        chosen = finalists(outcomes_of(self.bench, decided, self.folds), len(self.folds))
        return sum(self.pace.seconds(one, self.fresh) for one in chosen.candidates)

    def _has_time(self, seconds: float, decided: Sequence[Decided]) -> bool:
        return self.budget.left - self._reserve(decided) >= seconds

    def _reason_against(self, candidate: Candidate, decided: Sequence[Decided]) -> str:
        if any(one.candidate == candidate for one in run_of(decided)):
            return KNOWN
        try:
            self.bench.check(candidate, self.folds[0])
            if not decided:
                return ""
            # If it wins, it is run on the fresh folds too.
            needed = self._costs(candidate) + self.pace.seconds(candidate, self.fresh)
        except UserError as error:
            if not decided:
                raise
            return why(error)
        if not self._has_time(needed, decided):
            minutes, left = self._costs(candidate) / 60, max(self.budget.left - self._reserve(decided), 0) / 60
            return f"would take about {minutes:.1f} minutes, with {left:.1f} left for the search"
        return ""

    def _try(self, proposal: Proposal, decided: Sequence[Decided]) -> bool:
        """Run a candidate fold by fold; whether it could be run."""
        candidate, begun = proposal.candidate, self.budget.spent
        real = decided[0].candidate if decided else candidate
        excess: list[float] = []
        stopped = False
        for fold in self.folds:
            try:
                score = self.bench.score(candidate, fold)
            except UserError as error:
                if not decided:
                    raise
                proposal.drop(why(error))
                return False
            excess.append(score.log_loss - self.bench.score(real, fold).log_loss)
            self.budget.note()
            stopped = proposal.is_worse(fold.number, excess[-1]) and len(excess) < len(self.folds)
            if stopped:
                break
        proposal.tell(excess, stopped)
        self.pace.learn(candidate, self.budget.spent - begun, len(excess))
        how = f"given up after {len(excess)} folds" if stopped else f"{len(excess)} folds"
        self.tell(f"{candidate.name}: log-loss {sum(excess) / len(excess):+.3f} against real images alone, {how}")
        return True


def run_of(decided: Sequence[Decided]) -> list[Decided]:
    """Those that were run."""
    return [one for one in decided if not one.dropped]
