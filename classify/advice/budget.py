"""How long will a candidate take, and is there time for it? Timed on this machine, and corrected as work is done."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from augment.synthesis.dry_run import estimate
from augment.tuning.settings import TuningSettings
from classify.advice.bench import Bench
from classify.advice.candidates import Candidate, plain
from classify.advice.folder import AdviceFolder
from classify.advice.folds import Fold
from classify.advice.space import NONE
from classify.studies.models import bank_of
from classify.studies.rows import WantedSet
from classify.studies.runner import Runner
from classify.studies.synthesis import recipe_of
from classify.studies.variants import changed_model

PROBES = (2, 12)
"""Optimizer steps of the two trainings that are timed: what they differ by is the pace, the rest is the start."""

OF_CONFIRMATION = 0.4
"""Share of the time that the confirmation may take; where that is too little for all fresh folds, fewer are taken."""

FINALISTS = 3
"""That are reckoned with: real images alone, the winner and a simpler one."""

LEAST_FRESH = 3
"""Fresh folds, however little time there is; of fewer nothing can be told."""

BACKWARD = 3.0
"""A training step costs about so many times what calling the network does (Kaplan et al. 2020, section 2.1)."""

READ_BACK = 0.2
"""Share of the estimate below which a candidate was not run but read back, at least in part."""

HOUR = 3600.0


@dataclass
class Budget:
    """Seconds that were spent, in this run and those before it, and how many may be.

    Args:
        hours: That may be spent.
        folder: Keeps what was spent.
    """

    hours: float
    folder: AdviceFolder
    begun: float = field(default_factory=time.monotonic)
    before: float = 0.0

    def __post_init__(self) -> None:
        self.before = self.folder.spent()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self.before + time.monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds that may still be spent."""
        return self.hours * HOUR - self.spent

    def note(self) -> None:
        """Keep what was spent, in case the run is killed."""
        self.folder.write_spent(self.spent)


@dataclass
class Pace:
    """Tells what a candidate will take on a fold, from two short trainings and two batches of images.

    Args:
        bench: Where candidates are run.
        fold: Stands for all folds.
    """

    bench: Bench
    fold: Fold
    training: float = 0.0
    correction: float = 1.0
    known: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._probe(PROBES[0])  # the first training also waits for what is loaded once
        short, longer = (self._probe(steps) for steps in PROBES)
        step = max(longer - short, 0.0) / (PROBES[1] - PROBES[0])
        self.training = longer + step * max(self.bench.advisor.steps - PROBES[1], 0)

    def affordable(self, fresh: int, hours: float) -> int:
        """How many of the fresh folds there is time for."""
        fold = FINALISTS * self.training
        return min(fresh, max(LEAST_FRESH, int(OF_CONFIRMATION * hours * HOUR / fold)))

    def _probe(self, steps: int) -> float:
        with TemporaryDirectory() as folder:
            advisor = replace(self.bench.advisor, steps=steps, output=folder)
            begun = time.perf_counter()
            Bench(advisor, AdviceFolder(folder)).score(plain(advisor.space, NONE), self.fold)
            return time.perf_counter() - begun

    def seconds(self, candidate: Candidate, folds: int) -> float:
        """What a candidate will take on so many folds on which nothing of it was made yet."""
        return self.correction * folds * (self.training + self._synthesis(candidate))

    def learn(self, candidate: Candidate, seconds: float, folds: int) -> None:
        """Take note of what a candidate has taken: later estimates are as much longer or shorter."""
        ratio = seconds / (folds * (self.training + self._synthesis(candidate)))
        if ratio > READ_BACK:
            self.correction = (self.correction + min(ratio, 1 / READ_BACK)) / 2

    def _synthesis(self, candidate: Candidate) -> float:
        if not candidate.is_synthetic:
            return 0.0
        described = repr(sorted((name, value) for name, value in candidate.params.items() if name != "policy"))
        if described not in self.known:
            runner = self.bench.runner(candidate, self.fold)
            wanted = self.bench.cell(runner, self.fold).synthetic
            assert wanted is not None
            self.known[described] = synthesis_seconds(runner, wanted)
        return self.known[described]


def synthesis_seconds(runner: Runner, wanted: WantedSet) -> float:
    """Seconds that a set will take, its inversions and its tuning included; nothing for one that is there."""
    study = runner.study
    model = changed_model(study.synthesizer, replace(wanted.variant, tuning=None))
    size = 16 if wanted.plan.batch_size == "auto" else int(wanted.plan.batch_size)
    plan = replace(wanted.plan, batch_size=min(size, wanted.plan.per_class * len(study.source.classes)))
    untuned = replace(wanted, plan=plan, variant=replace(wanted.variant, tuning=None))
    recipe = recipe_of(study, model, untuned, plan)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory() as folder:
        cost = estimate(model, recipe, Path(folder) / "set", bank_of(runner.folder, untuned), False, device, 1)
    seconds = cost.hours * HOUR
    tuning = wanted.variant.tuning
    if tuning is not None and cost.evaluations:
        seconds += BACKWARD * tuned_images(tuning) * seconds / cost.evaluations
    return seconds


def tuned_images(tuning: TuningSettings) -> int:
    """Images that a tuning shows to the network."""
    return int(tuning.steps) * int(tuning.batch_size)
