"""Which candidate is tried next, and when is one given up? Optuna's TPE and Wilcoxon pruner, kept in a journal.

What is proposed is a function of the candidates that were decided before and of the seed, so that a search that was
killed proposes what an undisturbed one does.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from classify.advice.candidates import Candidate, candidate_of
from classify.advice.space import Space

NAME = "advice"
SURE = 0.1
"""p of the one-sided Wilcoxon test over folds, below which a candidate counts as worse than the best."""

LEAST_FOLDS = 4
"""Before so many folds no such p is possible: the smallest of n pairs is 2^-n."""

RANDOM_AT_FIRST = 10
"""Candidates before TPE has enough to go by."""


@dataclass(frozen=True)
class Decided:
    """A candidate that the search is done with.

    Attributes:
        candidate: It.
        folds: Numbers of the folds that it was run on, in order; none if it was dropped before.
        stopped: Whether it was given up, as worse than the best.
        dropped: Why it was not run at all; empty if it was.
    """

    candidate: Candidate
    folds: tuple[int, ...]
    stopped: bool
    dropped: str = ""


class Proposals:
    """The search's memory: asks for candidates and hears how they did.

    Args:
        journal: The file that it is kept in.
        space: What there is to choose from.
        first: Candidates that are tried before any are searched for.
        seed: Leads the search.
    """

    def __init__(self, journal: Path, space: Space, first: Sequence[Candidate], seed: int) -> None:
        self.space, self.first, self.seed = space, first, seed
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        journal.parent.mkdir(parents=True, exist_ok=True)
        mend(journal)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=SURE, n_startup_steps=LEAST_FOLDS)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        self._study = optuna.create_study(
            storage=storage, study_name=NAME, direction="minimize", pruner=pruner, load_if_exists=True
        )
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)  # what was killed is proposed again

    def decided(self) -> list[Decided]:
        """The candidates that the search is done with, in order."""
        return [self._read(trial) for trial in self._trials()]

    def ask(self) -> "Proposal":
        """The next candidate."""
        number = len(list(self._trials()))
        # A sampler of its own for every candidate: its random numbers do not depend on how often the run was killed.
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=len(self.first) + RANDOM_AT_FIRST, seed=self.seed * 100_003 + number
        )
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if number < len(self.first) and not waiting:
            self._study.enqueue_trial(self.first[number].params)
        trial = self._study.ask()
        return Proposal(self._study, trial, candidate_of(self.space, lambda n, c: choose(trial, n, c)))

    def _trials(self) -> Iterator[FrozenTrial]:
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == TrialState.COMPLETE or "dropped" in trial.user_attrs:
                yield trial

    def _read(self, trial: FrozenTrial) -> Decided:
        def chosen(name: str, choices: Sequence[Any]) -> Any:
            return trial.params.get(name, choices[0])

        candidate = candidate_of(self.space, chosen)
        attributes = trial.user_attrs
        folds = tuple(sorted(trial.intermediate_values))
        return Decided(candidate, folds, bool(attributes.get("stopped")), str(attributes.get("dropped", "")))


@dataclass(frozen=True)
class Proposal:
    """A candidate that is being tried."""

    study: optuna.Study
    trial: Trial
    candidate: Candidate

    def is_worse(self, fold: int, excess: float) -> bool:
        """Take note of a fold's log-loss above that of real images alone; whether the candidate may be given up."""
        self.trial.report(excess, fold)
        return bool(self.trial.should_prune())

    def tell(self, excess: Sequence[float], stopped: bool) -> None:
        """How the candidate did on the folds that it was run on; one that was given up counts by these alone."""
        self.trial.set_user_attr("stopped", stopped)
        self.study.tell(self.trial, sum(excess) / len(excess))

    def drop(self, reason: str) -> None:
        """The candidate cannot be run, or is known already."""
        self.trial.set_user_attr("dropped", reason)
        self.study.tell(self.trial, state=TrialState.FAIL)


def choose(trial: Trial, name: str, choices: Sequence[Any]) -> Any:
    """Optuna's choice; what leaves no choice is no parameter."""
    return choices[0] if len(choices) == 1 else trial.suggest_categorical(name, choices)


def mend(journal: Path) -> None:
    """Take away what a killed run left: half a line, and the lock, which the folder's own stands for.

    Args:
        journal: Optuna's file, which nobody else has open.
    """
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink()
    if journal.is_file():
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            journal.write_bytes(whole)
