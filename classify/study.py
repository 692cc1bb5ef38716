"""Which augmentation method gives the best classifier? Methods × seeds, everything else the same.

All methods of a seed share the few-shot set, the inverted latents, the mixing weights, the classifier's
initial weights and the number of optimizer steps, so that differences are paired.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
from jsonargparse.typing import PositiveInt
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from augment.data import ImageSource
from augment.errors import UserError
from augment.manifest import first_difference, library_versions
from augment.methods import MethodName
from augment.mixing import Mixing
from augment.pipeline import QUIET_TRAINER, synthesize
from augment.shards import Plan, file_sha256, write_json
from augment.synthesis_data import SynthesisData
from augment.synthesizer import Synthesizer
from classify.classifier import Classifier
from classify.data import Batches, ClassificationData
from classify.reference import Reference, make_reference
from classify.report import write_report
from classify.training import fit_and_test

StudyMethod = Literal["none"] | MethodName


@dataclass(frozen=True)
class Cell:
    """One method under one seed."""

    method: StudyMethod
    seed: int

    @property
    def slug(self) -> str:
        """Folder name of the method."""
        return self.method.replace("/", "-")


def study(
    output: str,
    synthesizer: Synthesizer,
    classifier: Callable[[int], Classifier],
    source: ImageSource,
    methods: list[StudyMethod],
    seeds: PositiveInt = 3,
    shots: PositiveInt = 5,
    steps: PositiveInt = 300,
    mixing: Mixing = Mixing(),  # noqa: B008  (frozen)
    plan: Plan = Plan(),  # noqa: B008  (frozen)
    batches: Batches = Batches(),  # noqa: B008  (frozen)
    extractor: str = "inception",
    extractor_weights: str | None = None,
    skip_bad: bool = False,
    command: str = "classify study",
) -> None:
    """Compare augmentation methods; finished cells are kept and never run again.

    Args:
        output: Folder of the study.
        synthesizer: Backbone and sampler of all methods.
        classifier: Built anew for each cell; its argument is the number of classes.
        source: Few-shot pool and test images.
        methods: `none` is the classifier on real images alone.
        seeds: Number of seeds, 0 to seeds - 1; each chooses a few-shot set, mixtures and initial weights.
        shots: Real images per class.
        steps: Optimizer steps of every classifier.
        mixing: How sources and weights are drawn.
        plan: Size and layout of the synthetic datasets.
        batches: How training batches are put together.
        extractor: Of the set metrics: `inception` for FID, `digits`, `clip`, `dinov2`, or a timm model.
        extractor_weights: Local file of the extractor's weights.
        skip_bad: Pass over real images that cannot be read instead of stopping.
        command: How the study was started, for the report.
    """
    folder = Path(output)
    seed_cells = [[Cell(method, seed) for method in dict.fromkeys(methods)] for seed in range(seeds)]
    config = {
        "synthesizer": synthesizer.describe(),
        "classifier": classifier(len(source.classes)).description,
        "source": {
            "classes": list(source.classes),
            "pool": len(source.pool),
            "test": len(source.test),
            "sha256": content_hash(source),
        },
        "shots": shots,
        "steps": steps,
        "mixing": asdict(mixing),
        "plan": asdict(plan),
        "batches": asdict(batches),
        "extractor": extractor,
        "extractor_weights": file_sha256(Path(extractor_weights)) if extractor_weights else None,
        "versions": library_versions(),
    }
    open_study(folder, config)
    image_size, cache = synthesizer.backbone.image_size, folder / "features"
    reference = make_reference(extractor, extractor_weights, source, image_size, skip_bad, cache=cache)
    runner = _Runner(folder, synthesizer, classifier, source, shots, steps, mixing, plan, batches, reference, skip_bad)
    rows: list[dict[str, Any]] = []
    progress = Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
    )
    with progress:
        task = progress.add_task("study", total=sum(map(len, seed_cells)))
        for cells in seed_cells:
            for cell in cells:
                progress.update(task, description=f"{cell.method}, seed {cell.seed}")
                rows.append(runner.run(cell))
                progress.advance(task)
    write_report(folder, rows, source, config, reference.name, command, config["versions"])


def content_hash(source: ImageSource) -> str:
    """Hash of all images of a source: a study of other images is another study."""
    digest = hashlib.sha256()
    for item in (*source.pool, *source.test):
        digest.update(f"{item.name}\0{item.label}\0{source.sha256(item)}".encode())
    return digest.hexdigest()[:16]


def open_study(folder: Path, config: dict[str, Any]) -> None:
    """Refuse to mix two studies in one folder; methods and seeds may be added to a study at any time.

    Raises:
        UserError: If the folder holds a study of another configuration.
    """
    path = folder / "study.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(config))  # as it would be read back: tuples become lists
        if found != wanted:
            where, old, new = first_difference(found, wanted)
            raise UserError(
                f"output: '{folder}' holds a study of another configuration ({where}: {old!r} there, {new!r} here); "
                f"choose another --output"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, config)


@dataclass(frozen=True)
class _Runner:
    """Everything that the cells of a study share."""

    folder: Path
    synthesizer: Synthesizer
    classifier: Callable[[int], Classifier]
    source: ImageSource
    shots: int
    steps: int
    mixing: Mixing
    plan: Plan
    batches: Batches
    reference: Reference
    skip_bad: bool

    def run(self, cell: Cell) -> dict[str, Any]:
        """The results of one cell, from disk if it is finished."""
        path = self.folder / "cells" / f"{cell.slug}-seed{cell.seed}.json"
        if path.is_file():
            finished: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return finished
        row: dict[str, Any] = {"method": cell.method, "seed": cell.seed, "shots": self.shots}
        dataset, seconds = self._synthesize(cell)
        L.seed_everything(cell.seed, verbose=False)
        data = ClassificationData(
            self.source, self.shots, cell.seed, None if dataset is None else str(dataset), self.batches, self.skip_bad
        )
        if dataset is not None:
            measured = self.reference.measure(dataset, self.source, data.few_shot)
            row |= measured.values | {"caveats": measured.caveats}
        trainer = L.Trainer(max_steps=self.steps, devices=1, **QUIET_TRAINER)
        fitted = fit_and_test(self.classifier(data.num_classes), data, trainer)
        row |= fitted.results | {"seconds": seconds | fitted.seconds}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, row)
        return row

    def _synthesize(self, cell: Cell) -> tuple[Path | None, dict[str, float]]:
        if cell.method == "none":
            return None, {}
        data = SynthesisData(
            output=str(self.folder / "datasets" / f"{cell.slug}-seed{cell.seed}"),
            source=self.source,
            method=cell.method,
            shots=self.shots,
            seed=cell.seed,
            mixing=self.mixing,
            plan=self.plan,
            bank=str(self.folder / "bank"),
            skip_bad=self.skip_bad,
        )
        dataset = synthesize(self.synthesizer, data, show_progress=False)
        run = json.loads((dataset / "run.json").read_text(encoding="utf-8"))
        # A resumed run made only some of the images; the cost of all of them is what methods are compared by.
        total = self.plan.per_class * len(self.source.classes)
        share = total / run["images"] if run["images"] else 1.0
        return dataset, {
            "invert": run["seconds"]["invert"],
            "synthesize": run["seconds"]["synthesize"] * share,
        }
