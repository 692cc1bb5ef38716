"""What is a study told? One frozen value: its options on the command line, and what is decided by them alone."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveInt

from augment.images.sources import ImageSource
from augment.mix.draws import Mixing
from augment.runtime.files import file_sha256
from augment.runtime.fingerprint import fingerprint, library_versions
from augment.runtime.loggers import LoggerName
from augment.synthesis.plan import Plan
from augment.synthesis.synthesizer import Synthesizer
from classify.studies.grid import Cell, Group, make_groups
from classify.studies.rows import (
    Contender,
    Entry,
    Row,
    WantedSet,
    as_noted,
    describe_row,
    make_contenders,
    make_rows,
    slug,
)
from classify.train.batches import Batches
from classify.train.leaks import NearDuplicates


@dataclass(frozen=True)
class Study:
    """A comparison of augmentation methods: rows × shots × seeds × classifiers, everything else the same.

    Args:
        output: Folder of the study. Finished cells in it are kept and never run again.
        synthesizer: The backbone and the sampler of all methods.
        classifiers: Each classifier's name and its settings, those of `classify fit --model`; `shots: [5]` among them
            limits a classifier to these numbers of shots.
        source: Gives the few-shot pool and the test images.
        methods: The rows: names of methods, or entries of a method with what differs from the settings below. `none` is
            the classifier on real images alone.
        reference: The row that all others are compared with, beside `none`.
        seeds: The study runs this many seeds, from 0 on; each chooses a few-shot set, mixtures and initial weights.
        shots: The study runs at these numbers of real images per class.
        steps: Every classifier is trained for this many optimizer steps.
        mixing: How sources and weights are drawn.
        plan: Size and layout of the synthetic datasets.
        batches: How training batches are put together.
        extractor: Measures the synthetic sets: `inception` for FID, `digits`, `clip`, `dinov2`, or a timm model; or a
            list of them, of which the first judges the backbone.
        extractor_weights: Local file of the first extractor's weights.
        devices: Cells run side by side in this many processes, each on an accelerator of its own where there are any.
        threads: Each process computes with this many threads on the CPU, which decides the last bits of the results.
        skip_bad: Pass over real images that cannot be read instead of stopping.
        near_duplicates: Test images that are nearly few-shot images (encoded anew, resized, slightly cropped) are
            listed by a warning and in the report (`warn`), stop the study (`refuse`), or are not looked for (`ignore`).
        logger: Keeps the training curves of every cell in `OUTPUT/curves`: `csv`, `tensorboard`, `wandb` or `none`.

    Example:
        >>> import augment, classify
        >>> settings = classify.Study(
        ...     output="runs/mine",
        ...     synthesizer=augment.Synthesizer(augment.StableDiffusion("digits"), steps=20),
        ...     classifiers={"resnet": {"name": "test_resnet", "lr": 0.003}},
        ...     source=augment.Digits(),
        ...     methods=["none", "fix/0", "nin/chm"],
        ... )
        >>> [row.name for row in settings.rows]
        ['none', 'fix/0', 'nin/chm']
    """

    output: str | Path
    synthesizer: Synthesizer
    classifiers: dict[str, dict[str, Any]]
    source: ImageSource
    methods: list[str | Entry]
    reference: str | None = None
    seeds: PositiveInt = 3
    shots: list[PositiveInt] = field(default_factory=lambda: [5])
    steps: PositiveInt = 300
    mixing: Mixing = Mixing()  # noqa: RUF009  (frozen)
    plan: Plan = Plan()  # noqa: RUF009  (frozen)
    batches: Batches = Batches()  # noqa: RUF009  (frozen)
    extractor: list[str] | str = "inception"
    extractor_weights: str | None = None
    devices: PositiveInt = 1
    threads: PositiveInt = 1
    skip_bad: bool = False
    near_duplicates: NearDuplicates = "warn"
    logger: LoggerName = "none"

    @cached_property
    def rows(self) -> list[Row]:
        """The ways to train, in the order that they were given in.

        Raises:
            UserError: If one is no method, or its settings are none.
        """
        shots = list(dict.fromkeys(self.shots))
        return make_rows(self.methods, shots, self.batches, self.mixing, self.plan, self.synthesizer)

    @cached_property
    def contenders(self) -> list[Contender]:
        """The classifiers.

        Raises:
            UserError: If there is none, or the settings of one are none.
        """
        return make_contenders(self.classifiers, list(dict.fromkeys(self.shots)))

    @cached_property
    def groups(self) -> list[Group]:
        """All cells, those that share a synthetic set together.

        Raises:
            UserError: If two cells would share a file, or there is none.
        """
        return make_groups(self.rows, self.contenders, self.seeds)

    @property
    def cells(self) -> list[Cell]:
        """All cells, row by row."""
        order = [row.name for row in self.rows]
        cells = [cell for group in self.groups for cell in group.cells]
        return sorted(cells, key=lambda cell: order.index(cell.row.name))

    @property
    def extractors(self) -> tuple[str, ...]:
        """The extractors, the judge of the backbone first."""
        return (self.extractor,) if isinstance(self.extractor, str) else tuple(self.extractor)

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What decides a number of every cell, as JSON has it; made once, since it hashes all images."""
        source, extractors = self.source, self.extractors
        return {
            "synthesizer": self.synthesizer.describe(),
            "source": {
                "classes": list(source.classes),
                "pool": len(source.pool),
                "test": len(source.test),
                "sha256": content_hash(source),
            },
            "steps": self.steps,
            "extractor": extractors[0] if len(extractors) == 1 else list(extractors),
            "extractor_weights": file_sha256(Path(self.extractor_weights)) if self.extractor_weights else None,
            "threads": self.threads,
            "versions": library_versions(),
        }

    def describe(self) -> dict[str, Any]:
        """What decides the study's numbers, as it is read back from JSON."""
        description = self.shared | {
            "mixing": asdict(self.mixing),
            "plan": asdict(self.plan),
            "rows": {row.name: describe_row(row) for row in self.rows},
            "classifiers": {contender.name: contender.settings for contender in self.contenders},
        }
        found: dict[str, Any] = json.loads(json.dumps(description))  # tuples become lists
        return found

    def key(self, cell: Cell) -> str:
        """Hash of everything that decides a cell's results."""
        own = {"row": describe_row(cell.row), "classifier": cell.contender.settings}
        return fingerprint(self.shared | own | {"shots": cell.shots, "seed": cell.seed})

    def set_name(self, wanted: WantedSet) -> str:
        """Name of a synthetic dataset: a hash tells it from others where its row has settings of its own."""
        name = f"{slug(wanted.method)}-shots{wanted.shots}-seed{wanted.seed}"
        if (wanted.settings, wanted.mixing, wanted.plan) != ({}, self.mixing, self.plan):
            own = [as_noted(wanted.settings), asdict(wanted.mixing), asdict(wanted.plan)]
            name += f"-{fingerprint({'own': own})[:8]}"
        return name + wanted.variant.name


def content_hash(source: ImageSource) -> str:
    """Hash of all images of a source: a study of other images is another study."""
    digest = hashlib.sha256()
    for item in (*source.pool, *source.test):
        digest.update(f"{item.name}\0{item.label}\0{source.sha256(item)}".encode())
    return digest.hexdigest()[:16]
