"""What is the advisor told? One frozen value: its options on the command line, and what they decide."""

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from augment.images.few_shot import FewShotSet, choose_few_shot_set
from augment.images.sources import ImageSource
from augment.runtime.numbers import PositiveNumber
from augment.synthesis.plan import Plan
from augment.synthesis.synthesizer import Synthesizer
from classify.advice.space import Space
from classify.train.batches import Batches
from classify.train.sealed_source import Sealed


@dataclass(frozen=True)
class Advisor:
    """A search for the best way to train on these images, which no test image takes part in.

    Args:
        output: Folder of the advice. A search that was stopped goes on from it.
        synthesizer: The backbone and the sampler that synthetic images are made with.
        classifier: The settings of the classifier, those of `classify fit --model`.
        source: Gives the real images; its test images are never touched.
        hours: The search and its confirmation take no longer than this.
        shots: Real images per class that may be used; null takes as many as the smallest class has.
        seed: Chooses the real images, deals them into folds, and leads the search.
        folds: Every class is dealt into so many folds; a class of fewer images has each of them held out once.
        repeats: The images are dealt anew so many times for the search.
        confirm: The winner and the simple candidates are compared on so many fresh folds.
        steps: Every classifier is trained for this many optimizer steps.
        candidates: The search ends after so many candidates, even if there is time left; null is no limit.
        space: What the search may choose from.
        plan: Layout of the synthetic datasets; the space decides their size.
        batches: How training batches are put together, before a policy changes that.
        threads: The CPU computes with this many threads, which decides the last bits of the results.

    Example:
        >>> import augment, classify
        >>> model = augment.Synthesizer(augment.StableDiffusion("digits"), augment.Inversion(steps=5), steps=5)
        >>> settings = classify.Advisor("advice", model, {"name": "test_resnet"}, augment.Digits(), hours=0.1, shots=4)
        >>> len(settings.few_shot.all)
        40
    """

    output: str | Path
    synthesizer: Synthesizer
    classifier: dict[str, Any]
    source: ImageSource
    hours: PositiveNumber = 4.0
    shots: PositiveInt | None = None
    seed: NonNegativeInt = 0
    folds: PositiveInt = 5
    repeats: PositiveInt = 2
    confirm: PositiveInt = 10
    steps: PositiveInt = 300
    candidates: PositiveInt | None = None
    space: Space = field(default_factory=Space)
    plan: Plan = Plan()  # noqa: RUF009  (frozen)
    batches: Batches = Batches()  # noqa: RUF009  (frozen)
    threads: PositiveInt = 1

    @property
    def output_path(self) -> Path:
        """The folder of the advice."""
        return Path(self.output)

    @cached_property
    def images(self) -> ImageSource:
        """The real images, the test images shut away."""
        return Sealed(self.source)

    @cached_property
    def per_class(self) -> dict[str, int]:
        """Images that each class of the pool has."""
        found = dict.fromkeys(self.images.classes, 0)
        for item in self.images.pool:
            found[self.images.classes[item.label]] += 1
        return found

    @cached_property
    def few_shot(self) -> FewShotSet:
        """The real images that may be used.

        Raises:
            UserError: If a class has fewer than asked for, or an image cannot be read.
        """
        shots = min(self.per_class.values()) if self.shots is None else self.shots
        return choose_few_shot_set(self.images, shots, self.seed)

    @property
    def most_shots(self) -> int:
        """Real images of each class."""
        return len(self.few_shot.shots[0])

    def describe(self) -> dict[str, Any]:
        """What decides the course of the search, as it is read back from JSON; time and number may be raised later."""
        described = {
            "synthesizer": self.synthesizer.describe(),
            "classifier": self.classifier,
            "few_shot": [(shot.label, shot.name, shot.sha256) for shot in self.few_shot.all],
            "classes": self.few_shot.classes,
            "seed": self.seed,
            "folds": self.folds,
            "repeats": self.repeats,
            "confirm": self.confirm,
            "steps": self.steps,
            "space": asdict(self.space),
            "plan": asdict(self.plan),
            "batches": asdict(self.batches),
            "threads": self.threads,
        }
        found: dict[str, Any] = json.loads(json.dumps(described))  # tuples become lists
        return found
