"""How is a cell run? Its synthetic set is made and measured once, then each classifier is trained and tested once."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch

from augment.dataset.manifest import read_manifest
from augment.errors import UserError
from augment.images.few_shot import FewShotSet, choose_few_shot_set
from augment.images.sources import ImageSource
from augment.invert.fill import invert
from augment.measure.latents import StartStatistics, norms_and_channels, summarize
from augment.measure.reference import Reference, make_reference
from augment.mix.draws import Mixing
from augment.mix.registry import METHODS, MethodName, describe
from augment.runtime.fingerprint import fingerprint
from augment.runtime.loggers import LoggerName, close_logger, make_logger
from augment.runtime.trainer import QUIET_TRAINER
from augment.synthesize.batch_size import settled_recipe
from augment.synthesize.pipeline import synthesize
from augment.synthesize.plan import Plan
from augment.synthesize.recipe import Recipe, make_recipe
from augment.synthesize.synthesizer import Synthesizer
from classify.study.cells import Cell, Group, SyntheticSet, describe_row, slug
from classify.study.folder import write_note
from classify.train.data import ClassificationData
from classify.train.fit import fit_and_test


@dataclass(frozen=True)
class Event:
    """What happened to a cell."""

    kind: Literal["running", "done", "failed"]
    cell: Cell
    text: str = ""


@dataclass(frozen=True)
class Made:
    """A synthetic set as its cells see it: where it lies, its metrics, what is to be known of them, seconds."""

    dataset: Path | None
    metrics: dict[str, float]
    caveats: list[str]
    seconds: float | None


@dataclass(frozen=True)
class Runner:
    """Everything that the cells of a study share; `config` is all of it that decides a number."""

    folder: Path
    config: dict[str, Any]
    synthesizer: Synthesizer
    source: ImageSource
    steps: int
    mixing: Mixing
    plan: Plan
    extractors: tuple[str, ...]
    extractor_weights: str | None
    threads: int
    skip_bad: bool
    logger: LoggerName

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        """Each extractor and the real images' features, which the processes of a study share through a folder."""
        size, cache, classes = self.synthesizer.backbone.image_size, self.folder / "features", self.source.classes
        weights = [self.extractor_weights, *[None] * (len(self.extractors) - 1)]
        return tuple(
            make_reference(extractor, file, self.source, size, self.skip_bad, classes, cache)
            for extractor, file in zip(self.extractors, weights, strict=True)
        )

    def finished(self, cell: Cell) -> dict[str, Any] | None:
        """The results of a cell, if it was run before.

        Raises:
            UserError: If they belong to another configuration, or cannot be read.
        """
        path = self._path(cell)
        if not path.is_file():
            return None
        try:
            results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = results["key"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"output: '{path}' is no finished cell ({error!r}); delete it") from error
        if found != self._key(cell):
            raise UserError(f"output: '{path}' belongs to another study; delete it")
        return results

    def fill_bank(self, seed: int, shots: int, method: MethodName) -> None:
        """Make the latents that a method begins with for a seed's largest few-shot set, which holds its smaller ones.

        So every latent is made in the same batch, however many processes use it later: its last bit depends on it.
        What the latents are like is noted.
        """
        note = self.folder / "inversions" / f"{METHODS[method].latents}-shots{shots}-seed{seed}.json"
        if note.is_file():
            return
        with pinned_threads(self.threads):
            begun = time.perf_counter()
            few_shot = self.few_shot(shots, seed)
            inverted = invert(
                self.synthesizer.backbone,
                self.source,
                few_shot,
                {label: self.synthesizer.prompt_for(few_shot.classes[label]) for label in few_shot.labels},
                self.folder / "bank",
                self.synthesizer.inversion,
                METHODS[method].latents,
                self.synthesizer.compiled,
                show_progress=False,
            )
            seconds = time.perf_counter() - begun
        keys = [key for members in inverted.keys.values() for key in members]
        latents = torch.stack([inverted.bank.load(k, s.name) for k, s in zip(keys, few_shot.all, strict=True)])
        psnr = sum(quality.round_trip for quality in inverted.quality.values()) / len(inverted.quality)
        statistics = asdict(summarize(*norms_and_channels(latents)))
        write_note(note, {"new": inverted.new, "seconds": seconds, "psnr": psnr, "latents": statistics})

    def run(self, group: Group) -> Iterator[Event]:
        """Run the cells that share a synthetic set; one that fails leaves the others alone."""
        for cell in group.cells:
            yield Event("running", cell)
            try:
                with pinned_threads(self.threads):
                    self._train(cell, self.make_set(group.synthetic))
            except Exception as error:
                if not isinstance(error, UserError):
                    self._keep_trace(cell)
                yield Event("failed", cell, " ".join(str(error).split()) or type(error).__name__)
            else:
                yield Event("done", cell)

    def make_set(self, wanted: SyntheticSet | None) -> Made:
        """A synthetic dataset and what was measured on it, kept for all cells that train on it."""
        if wanted is None:
            return Made(None, {}, [], 0.0)
        dataset, note = self.folder / "datasets" / self._name(wanted), self._note(wanted)
        made = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else self._make_set(wanted, dataset)
        if "metrics" not in made:
            write_note(note, made)  # what is known of the sampling is kept should the measuring be interrupted
            few_shot = self.few_shot(wanted.shots, wanted.seed)
            measured = [reference.measure(dataset, self.source, few_shot) for reference in self.references]
            made["metrics"] = {metric: value for one in measured for metric, value in one.values.items()}
            made["caveats"] = [caveat for one in measured for caveat in one.caveats]
            write_note(note, made)
        return Made(dataset, made["metrics"], made["caveats"], made["seconds"])

    def has_set(self, wanted: SyntheticSet) -> bool:
        """Whether a synthetic dataset was made and measured before."""
        return self._note(wanted).is_file()

    def _name(self, wanted: SyntheticSet) -> str:
        name = f"{slug(wanted.method)}-shots{wanted.shots}-seed{wanted.seed}"
        own = (wanted.settings, wanted.mixing, wanted.plan)
        if own != (describe(METHODS[wanted.method]), self.mixing, self.plan):
            name += f"-{fingerprint({'own': [wanted.settings, asdict(wanted.mixing), asdict(wanted.plan)]})[:8]}"
        return name

    def _note(self, wanted: SyntheticSet) -> Path:
        return self.folder / "sets" / f"{self._name(wanted)}.json"

    def _make_set(self, wanted: SyntheticSet, dataset: Path) -> dict[str, Any]:
        statistics = StartStatistics()

        def make_trainer(callbacks: list[L.Callback]) -> L.Trainer:
            return L.Trainer(devices=1, callbacks=[*callbacks, statistics], **QUIET_TRAINER)

        few_shot = self.few_shot(wanted.shots, wanted.seed)

        def recipe_of(plan: Plan) -> Recipe:
            return make_recipe(
                self.synthesizer, few_shot, wanted.method, wanted.seed, wanted.mixing, plan, wanted.settings
            )

        recipe = settled_recipe(recipe_of, wanted.plan, self.synthesizer, dataset)
        bank = self.folder / "bank"
        synthesize(self.synthesizer, self.source, recipe, dataset, bank, False, make_trainer, show_progress=False)
        run = json.loads((dataset / "run.json").read_text(encoding="utf-8"))
        # A resumed run made only some of the images; the cost of all of them is what methods are compared by. One that
        # was killed before it noted its time left nothing to tell it by.
        images = wanted.plan.per_class * len(self.source.classes)
        seconds = run["seconds"]["synthesize"] * images / run["images"] if run["images"] else None
        seen = statistics.summary()
        latents = asdict(seen) if seen is not None and seen.count == images else None
        return {"images": images, "seconds": seconds, "latents": latents}

    def few_shot(self, shots: int, seed: int) -> FewShotSet:
        """The real images of a seed."""
        return choose_few_shot_set(self.source, shots, seed, skip_bad=self.skip_bad)

    def _train(self, cell: Cell, made: Made) -> None:
        L.seed_everything(cell.seed, verbose=False)
        synthetic = None if made.dataset is None else str(made.dataset)
        row = cell.row
        data = ClassificationData(self.source, cell.shots, cell.seed, synthetic, row.batches, self.skip_bad, row.filter)
        logger = make_logger(self.logger, self.folder / "curves" / cell.slug, cell.slug)
        trainer = L.Trainer(max_steps=self.steps, devices=1, log_every_n_steps=10, **QUIET_TRAINER | {"logger": logger})
        try:
            fitted = fit_and_test(cell.contender.build(data.num_classes), data, trainer)
        finally:
            close_logger(logger)
        results = {
            "key": self._key(cell),
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
        write_note(self._path(cell), results | fitted.results)

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.slug}.json"

    def _key(self, cell: Cell) -> str:
        """Hash of everything that decides a cell's results."""
        own = {"row": describe_row(cell.row), "classifier": cell.contender.settings}
        return fingerprint(self.config | own | {"shots": cell.shots, "seed": cell.seed})

    def _keep_trace(self, cell: Cell) -> None:
        folder = self.folder / "failures"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{cell.slug}.txt").write_text(traceback.format_exc(), encoding="utf-8")


@contextmanager
def pinned_threads(count: int) -> Iterator[None]:
    """Compute with this many threads: a sum over several is rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
