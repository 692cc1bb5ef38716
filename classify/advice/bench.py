"""How good is a candidate on a fold? One cell of a study: the fold's training images, and its held-out ones as test."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from augment.errors import UserError
from classify.advice.candidates import Candidate
from classify.advice.fold_source import FoldSource
from classify.advice.folder import AdviceFolder
from classify.advice.folds import Fold
from classify.advice.settings import Advisor
from classify.studies.grid import Cell, Group, check_length
from classify.studies.models import tune_backbone
from classify.studies.preflight import check_row
from classify.studies.rows import WantedSet
from classify.studies.runner import Runner
from classify.studies.settings import Study


@dataclass(frozen=True)
class Score:
    """What a candidate scored on a fold.

    Attributes:
        fold: Number of the fold.
        log_loss: Mean -log of the probability given to the true class of a held-out image.
        accuracy: Share of the held-out images whose class was recognised.
        train: Seconds of processor or device that the training took.
        synthesize: The same of the synthetic set, its tuning included; None if it was resumed, and so is not known.
        unit: `processor` or `device`.
        dataset: Name of the synthetic set; None for real images alone.
    """

    fold: int
    log_loss: float
    accuracy: float
    train: float
    synthesize: float | None
    unit: str
    dataset: str | None


class CandidateFailed(UserError):
    """A candidate could not be run."""


@dataclass(frozen=True)
class Bench:
    """Runs candidates on folds; what was run before is read back. All folds and candidates share a folder.

    Args:
        advisor: What they share.
        folder: Where their files lie.
        known: Scores that were read before, by candidate and fold.
    """

    advisor: Advisor
    folder: AdviceFolder
    known: dict[tuple[str, int], Score] = field(default_factory=dict, compare=False)

    def runner(self, candidate: Candidate, fold: Fold) -> Runner:
        """A study of one row, whose pool is what the fold trains on and whose test images are those it holds out."""
        advisor = self.advisor
        study = Study(
            output=self.folder.trials.path,
            synthesizer=advisor.synthesizer,
            classifiers={"classifier": advisor.classifier},
            source=FoldSource(advisor.images, fold),
            methods=[candidate.entry(advisor.space)],
            seeds=1,
            shots=[fold.shots],
            steps=advisor.steps,
            plan=advisor.plan,
            batches=advisor.batches,
            extractor=[],  # what a set looks like decides nothing here
            threads=advisor.threads,
            near_duplicates="ignore",  # they stand in one fold
        )
        return Runner(study, self.folder.trials)

    def cell(self, runner: Runner, fold: Fold) -> Cell:
        """The one training and its test."""
        return Cell(runner.study.rows[0], fold.shots, fold.number, runner.study.contenders[0])

    def check(self, candidate: Candidate, fold: Fold) -> None:
        """Refuse a candidate that cannot be run.

        Raises:
            UserError: Saying why.
        """
        runner = self.runner(candidate, fold)
        check_row(runner.study, runner.study.rows[0])
        check_length(self.cell(runner, fold))

    def score(self, candidate: Candidate, fold: Fold) -> Score:
        """Train and judge a candidate on a fold, or read what it scored there before.

        Raises:
            CandidateFailed: If its set or its training failed.
        """
        key = (candidate.name, fold.number)
        if key not in self.known:
            self.known[key] = self._score(candidate, fold)
        return self.known[key]

    def _score(self, candidate: Candidate, fold: Fold) -> Score:
        runner = self.runner(candidate, fold)
        cell = self.cell(runner, fold)
        if not runner.finished(cell):
            wanted = cell.synthetic
            if wanted is not None and wanted.variant.tuning is not None:
                tune_backbone(runner.study, runner.folder, wanted)
            elif wanted is not None:
                self._invert(candidate, wanted)
            for event in runner.run(Group(wanted, (cell,))):
                if event.kind == "failed":
                    raise CandidateFailed(f"'{candidate.name}'", event.text, "leave it out of the `space`")
        found = runner.folder.finished(cell.slug, runner.study.key(cell))
        assert found is not None  # it was run just now
        return score_of(fold.number, found)

    def _invert(self, candidate: Candidate, wanted: WantedSet) -> None:
        """Make the latents of all images at once: every fold takes its own of them, whichever comes first.

        An image's latent is a function of that image alone, so a held-out one tells a fold nothing.
        """
        everything = Fold(0, self.advisor.few_shot.all, ())
        whole = replace(wanted, shots=everything.shots, seed=everything.number)
        self.runner(candidate, everything).fill_bank(whole)


def score_of(fold: int, cell: Mapping[str, Any]) -> Score:
    """What the file of a cell says."""
    cost = cell["cost"]
    made = (cost["train"], cost["synthesize"], cost["unit"])
    return Score(fold, cell["log_loss"], cell["top1"], *made, cell["dataset"])
