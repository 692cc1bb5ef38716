"""How is a cell run? Its synthetic set is made and measured once, then each classifier is trained and tested once."""

import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch

from augment.dataset.manifest import describe_dataset, read_manifest
from augment.dataset.verify import is_whole
from augment.errors import UserError
from augment.inversion.fill import invert
from augment.measure.adequacy import Adequacy, measure_adequacy
from augment.measure.extractor import Extractor
from augment.measure.latents import StartStatistics, norms_and_channels, summarize
from augment.measure.reference import Reference, make_extractor, reference_of
from augment.runtime.cost import Meter
from augment.runtime.loggers import close_logger, make_logger
from augment.runtime.threads import pinned_threads
from augment.runtime.trainer import QUIET_TRAINER
from augment.synthesis.batch_size import settled_recipe
from augment.synthesis.pipeline import synthesize
from augment.synthesis.recipe import Recipe
from augment.synthesis.synthesizer import Synthesizer
from classify.studies.grid import Cell, Group
from classify.studies.models import bank_of, model_of, spent
from classify.studies.results_folder import StudyFolder
from classify.studies.rows import WantedSet
from classify.studies.settings import Study
from classify.studies.synthesis import few_shot_set, latents_of, recipe_of, starts_of
from classify.train.data import ClassificationData
from classify.train.loss_curve import LossCurve
from classify.train.trial import fit_and_test


@dataclass(frozen=True)
class Event:
    """What happened to a cell."""

    kind: Literal["running", "done", "failed"]
    cell: Cell
    text: str = ""


@dataclass(frozen=True)
class Made:
    """A synthetic set as its cells see it: where it lies, its metrics, what is to be known of them, seconds, cost."""

    dataset: Path | None
    metrics: dict[str, float]
    caveats: list[str]
    seconds: float | None
    cost: float | None


@dataclass(frozen=True)
class Runner:
    """Runs cells of a study and keeps what they find.

    Args:
        study: What the cells share.
        folder: Where their files lie.
    """

    study: Study
    folder: StudyFolder

    @property
    def synthesizer(self) -> Synthesizer:
        """The model of all synthetic sets."""
        return self.study.synthesizer

    @cached_property
    def extractors(self) -> tuple[Extractor, ...]:
        """The networks that measure the synthetic sets.

        Raises:
            UserError: If the weights of one cannot be had.
        """
        names, size = self.study.extractors, self.synthesizer.backbone.image_size
        weights = [self.study.extractor_weights, *[None] * len(names)][: len(names)]
        return tuple(make_extractor(name, file, size) for name, file in zip(names, weights, strict=True))

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        """Each extractor and the real images' features, which the processes of a study share through a folder."""
        study, cache = self.study, self.folder.features
        return tuple(
            reference_of(extractor, study.source, study.skip_bad, study.source.classes, cache)
            for extractor in self.extractors
        )

    def finished(self, cell: Cell) -> bool:
        """Whether a cell was run before.

        Raises:
            UserError: If its results belong to another configuration, or cannot be read.
        """
        return self.folder.finished(cell.slug, self.study.key(cell)) is not None

    def fill_bank(self, wanted: WantedSet) -> None:
        """Make the latents that a set begins with: of a seed's largest few-shot set, which holds its smaller ones.

        So every latent is made in the same batch, however many processes use it later: its last bit depends on it.
        What the latents are like is noted.
        """
        kind, shots, seed = latents_of(wanted.method), wanted.shots, wanted.seed
        name = f"{kind}{wanted.variant.name}"
        if kind is None or self.folder.inversion(name, shots, seed) is not None:
            return
        model = model_of(self.study, self.folder, wanted)
        with pinned_threads(self.study.threads):
            begun = time.perf_counter()
            few_shot = few_shot_set(self.study, shots, seed)
            inverted = invert(
                model.backbone,
                self.study.source,
                few_shot,
                model.settings.inversion_prompts(few_shot),
                bank_of(self.folder, wanted),
                model.inversion,
                kind,
                model.compiled,
                show_progress=False,
            )
            seconds = time.perf_counter() - begun
        latents = torch.cat([inverted.latents(label) for label in inverted.keys])
        psnr = sum(quality.round_trip for quality in inverted.quality.values()) / len(inverted.quality)
        statistics = asdict(summarize(*norms_and_channels(latents)))
        note = {"new": inverted.new, "seconds": seconds, "psnr": psnr, "latents": statistics}
        self.folder.write_inversion(name, shots, seed, note)

    def judge(self) -> Adequacy:
        """Whether the backbone is good enough, measured once."""
        found = self.folder.adequacy()
        if found is None:
            study, extractor = self.study, self.references[0].extractor
            with pinned_threads(study.threads):
                found = measure_adequacy(study.synthesizer, study.source, extractor, study.skip_bad)
            self.folder.write_adequacy(found)
        return found

    def run(self, group: Group) -> Iterator[Event]:
        """Run the cells that share a synthetic set; one that fails leaves the others alone."""
        for cell in group.cells:
            yield Event("running", cell)
            try:
                with pinned_threads(self.study.threads):
                    self._train(cell, self.make_set(group.synthetic))
            except Exception as error:
                if not isinstance(error, UserError):
                    self.folder.keep_trace(cell.slug, traceback.format_exc())
                yield Event("failed", cell, " ".join(str(error).split()) or type(error).__name__)
            else:
                yield Event("done", cell)

    def make_set(self, wanted: WantedSet | None) -> Made:
        """A synthetic dataset and what was measured on it, kept for all cells that train on it."""
        if wanted is None:
            return Made(None, {}, [], 0.0, 0.0)
        name = self.study.set_name(wanted)
        dataset = self.folder.dataset(name)
        made = self.folder.set_note(name)
        model = model_of(self.study, self.folder, wanted)
        recipe = settled_recipe(partial(recipe_of, self.study, model, wanted), wanted.plan, model, dataset)
        if made is None or not is_whole(dataset, describe_dataset(recipe.describe())):
            anew = self._make_set(wanted, name, recipe, model)
            made = made or anew  # what was measured is true of the same bytes, but a repair tells nothing of the cost
        if "metrics" not in made:
            self.folder.write_set_note(name, made)  # the sampling's account is kept should the measuring be interrupted
            few_shot = few_shot_set(self.study, wanted.shots, wanted.seed)
            measured = [reference.measure(dataset, self.study.source, few_shot) for reference in self.references]
            made["metrics"] = {metric: value for one in measured for metric, value in one.values.items()}
            made["caveats"] = [caveat for one in measured for caveat in one.caveats]
            self.folder.write_set_note(name, made)
        return Made(dataset, made["metrics"], made["caveats"], made["seconds"], made.get("cost"))

    def _make_set(self, wanted: WantedSet, name: str, recipe: Recipe, model: Synthesizer) -> dict[str, Any]:
        statistics = StartStatistics()

        def make_trainer(callbacks: list[L.Callback]) -> L.Trainer:
            return L.Trainer(devices=1, callbacks=[*callbacks, statistics], **QUIET_TRAINER)

        source, dataset, bank = self.study.source, self.folder.dataset(name), bank_of(self.folder, wanted)
        meter, before = Meter(), self.folder.run_of_synthesis(name)["images"]
        with meter.running():
            synthesize(model, source, recipe, dataset, bank, False, make_trainer, show_progress=False)
        # A resumed run made only some of the images; the cost of all of them is what methods are compared by. One that
        # was killed before it noted its time left nothing to tell it by.
        images = wanted.plan.per_class * len(source.classes)
        run = self.folder.run_of_synthesis(name)
        seconds = run["seconds"]["synthesize"] * images / run["images"] if run["images"] else None
        new = run["images"] - before
        cost = meter.seconds * images / new if new else None
        if new < images:  # the starts of the others are mixed again
            statistics = StartStatistics(starts_of(model, recipe, dataset, bank))
        seen = statistics.summary()
        latents = asdict(seen) if seen is not None and seen.count == images else None
        return {"images": images, **spent(self.folder, wanted, seconds, cost), "latents": latents}

    def _train(self, cell: Cell, made: Made) -> None:
        L.seed_everything(cell.seed, verbose=False)
        synthetic = None if made.dataset is None else str(made.dataset)
        study, row = self.study, cell.row
        data = ClassificationData(
            study.source, cell.shots, cell.seed, synthetic, row.batches, study.skip_bad, row.filter
        )
        logger = make_logger(study.logger, self.folder.curves(cell.slug), cell.slug)
        curve, meter = LossCurve(), Meter()
        options = QUIET_TRAINER | {"logger": logger, "callbacks": [curve]}
        trainer = L.Trainer(max_steps=study.steps, devices=1, log_every_n_steps=10, **options)
        try:
            with meter.running():
                fitted = fit_and_test(cell.contender.build(data.num_classes), data, trainer)
        finally:
            close_logger(logger)
        results = {
            "key": study.key(cell),
            "row": row.name,
            "method": row.method or "none",
            "classifier": cell.contender.name,
            "shots": cell.shots,
            "seed": cell.seed,
            "dataset": None if made.dataset is None else made.dataset.name,
            "fingerprint": None if made.dataset is None else read_manifest(made.dataset)["fingerprint"],
            "set": made.metrics,
            "caveats": made.caveats,
            "seconds": {"synthesize": made.seconds, **fitted.seconds},
            "cost": {"unit": meter.unit, "synthesize": made.cost, "train": meter.seconds},
            "loss": curve.points(),
        }
        if data.filtered is not None:
            dropped = sum(data.filtered.dropped.values())
            results["dropped"] = float(dropped)
            results["dropped_share"] = dropped / (dropped + data.filtered.kept)
            results["caveats"] = made.caveats + [
                f"the filter of row '{row.name}' left no synthetic image of class '{name}' with seed {cell.seed}"
                for name, count in data.filtered.dropped.items()
                if count == row.plan.per_class
            ]
        self.folder.write_cell(cell.slug, results | fitted.results)
