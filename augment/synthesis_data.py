"""What is to be synthesized: the few-shot set, the method, the mixtures and the plan, dealt to ranks as batches."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader

from augment.backbones.sampling import Start, stack
from augment.bank import LatentBank, LatentKey
from augment.data import ImageSource
from augment.errors import UserError
from augment.few_shot import choose_few_shot_set
from augment.loading import deal, dealt_loader
from augment.manifest import open_folder, unfinished
from augment.methods import Material, MethodName, MethodSettings, configure, describe
from augment.mixing import Draws, Mixing, Mixture, count_sources, draw_mixture, noise_seed
from augment.processes import check_shared
from augment.shards import Plan, PlannedBatch, Sample, plan_batches, plan_shards
from augment.synthesizer import SynthesisBatch, Synthesizer


class SynthesisData(L.LightningDataModule):
    """The dataset to be made: its few-shot images, method, mixtures and plan.

    Args:
        output: Folder of the dataset.
        source: Where the real images come from.
        method: How a start is made; norm and mean adjustment as in the paper, or another method by name.
        shots: Real images per class.
        seed: Chooses the few-shot set and draws every mixture.
        classes: Make images of these classes only.
        mixing: How sources and weights are drawn.
        settings: Of the method; what it does not have is refused.
        plan: Size and layout of the dataset.
        bank: Folder of inverted latents; by default one per backbone below `bank`, beside the dataset.
        skip_bad: Pass over real images that cannot be read instead of stopping.
        overwrite: Delete a dataset of another configuration in `output` instead of refusing.
    """

    def __init__(
        self,
        output: str,
        source: ImageSource,
        method: MethodName = "nin/chm",
        shots: PositiveInt = 5,
        seed: NonNegativeInt = 0,
        classes: list[str] | None = None,
        mixing: Mixing = Mixing(),  # noqa: B008  (frozen)
        plan: Plan = Plan(),  # noqa: B008  (frozen)
        bank: str | None = None,
        skip_bad: bool = False,
        overwrite: bool = False,
        settings: MethodSettings = MethodSettings(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        self.output = Path(output)
        self.source = source
        self.method_name: MethodName = method
        self.method = configure(method, settings)
        self.seed = seed
        self.mixing = mixing
        self.plan = plan
        self.bank = Path(bank) if bank is not None else None
        self.overwrite = overwrite
        self.few_shot = choose_few_shot_set(self.source, shots, seed, classes, skip_bad)
        self.source_counts = {label: self._count_sources(label) for label in self.few_shot.labels}

    def _count_sources(self, label: int) -> int:
        name, available = self.few_shot.classes[label], len(self.few_shot.shots[label])
        if self.method.sources is None:
            return count_sources(self.mixing, available, name)
        if available < self.method.sources:
            raise UserError(
                f"method: '{self.method_name}' needs {self.method.sources} sources, class '{name}' has {available}; "
                f"raise --shots or choose another --method"
            )
        return self.method.sources

    def recipe(self, label: int, index: int) -> tuple[int, Mixture]:
        """Of image `index` of class `label`: the class that its sources are of, and its mixture of them."""
        labels = self.few_shot.labels
        source = Draws(self.seed, label, index).other_class(labels) if self.method.across else label
        mixing = self.mixing if self.method.weighted else replace(self.mixing, weights="centroid")
        available = len(self.few_shot.shots[source])
        return source, draw_mixture(mixing, self.source_counts[source], available, self.seed, label, index)

    def describe(self) -> dict[str, Any]:
        """Everything about the data that decides an image."""
        return {
            "method": self.method_name,
            "settings": describe(self.method),
            "mixing": asdict(self.mixing),
            "plan": asdict(self.plan),
            "seed": self.seed,
            "classes": list(self.few_shot.classes),
            "few_shot": [asdict(shot) for shot in self.few_shot.all],
        }

    def shards(self) -> list[tuple[Sample, ...]]:
        """The planned samples of every shard."""
        return plan_shards(self.plan, self.few_shot.labels)


LATENT_CACHE_BYTES = 2**31
"""Of host memory: more than all latents of a few-shot set, unless they are very many."""


def check_method(model: Synthesizer, data: SynthesisData) -> None:
    """Say before anything runs that a method cannot work with this model, prompt or set of classes.

    Raises:
        UserError: If so.
    """
    name, method, kind = data.method_name, data.method, model.backbone.prompts
    classes = data.few_shot.classes
    if method.across and len(data.few_shot.labels) < 2:
        raise UserError(
            f"method: '{name}' goes from one class to another, the few-shot set has images of one; "
            f"add a class to --classes or choose another --method"
        )
    if method.prompt_tells_class and len(classes) > 1:  # all of the source's: '--classes' may make one at a time
        if kind == "none":
            raise UserError(
                f"method: '{name}' tells the model the class by its prompt, and {model.backbone.identity} reads none; "
                f"choose another --method or --model.backbone"
            )
        if "{class}" not in model.prompt:
            raise UserError(
                f"model.prompt: '{model.prompt}' is the same for all {len(classes)} classes, and '{name}' knows a "
                f"class by its prompt alone; put {{class}} into --model.prompt or choose another --method"
            )
    if kind == "class":
        model.backbone.condition([model.prompt_for(classes[label]) for label in data.few_shot.labels])
    if describe(method).get("suffixes") and kind != "text":
        raise UserError(
            f"settings.suffixes: {model.backbone.identity} reads no text; leave --data.settings.suffixes out"
        )


class SynthesisLoader(L.LightningDataModule):
    """Feeds the planned batches of unfinished shards to the synthesizer.

    Args:
        model: Whose prompts and settings are used.
        data: The dataset to be made.
        bank: Where its latents lie.
        keys: Their keys, by class.
        manifest: What is written as `dataset.json` before the first shard.
    """

    def __init__(
        self,
        model: Synthesizer,
        data: SynthesisData,
        bank: LatentBank,
        keys: dict[int, tuple[LatentKey, ...]],
        manifest: dict[str, Any],
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer units than processes
        self.prepare_data_per_node = False  # one shared file system
        self.model = model
        self.data = data
        self.bank = bank
        self.keys = keys
        self.manifest = manifest
        self.shards = data.shards()
        self.pending: list[int] = []
        latent_bytes = 4 * math.prod(model.backbone.latent_shape)
        self._latent = lru_cache(maxsize=max(1, LATENT_CACHE_BYTES // latent_bytes))(self._load)

    def prepare_data(self) -> None:
        """Open the folder, once per run: refuse another configuration's dataset, or delete it if told to."""
        open_folder(self.data.output, self.manifest, self.data.overwrite)

    def setup(self, stage: str) -> None:
        """Find the unfinished shards; every rank does so before any of them writes."""
        check_shared(self.trainer, self.data.output)
        self.pending = unfinished(self.data.output, self.shards)

    def predict_dataloader(self) -> DataLoader[SynthesisBatch]:
        """This rank's batches: all those of its shards, shard by shard."""
        batches = [
            batch
            for shard in deal(self.pending, self.trainer)
            for batch in plan_batches(shard, self.shards[shard], self.data.plan.images_per_batch)
        ]
        return dealt_loader(self._batch, batches)

    def _batch(self, planned: PlannedBatch) -> SynthesisBatch:
        with self.model.stopwatch.stage("mix"):
            starts, records = zip(*(self._sample(s.label, s.index) for s in planned.samples), strict=True)
            return SynthesisBatch(planned, stack(list(starts)), records)

    def _sample(self, label: int, index: int) -> tuple[Start, dict[str, Any]]:
        data, model, method = self.data, self.model, self.data.method
        name = data.few_shot.classes[label]
        source, mixture = data.recipe(label, index)
        shots = data.few_shot.shots[source]
        latents, unconditional = self._latents(source, mixture.sources)
        material = Material(
            latents,
            torch.tensor(mixture.weights, dtype=torch.float32),
            model.prompt_for(name),
            Draws(data.seed, label, index),
            unconditional,
        )
        share = method.label_share
        record = {
            "label": label,
            "class": name,
            "index": index,
            "method": data.method_name,
            "sources": [shots[n].name for n in mixture.sources],
            "weights": list(mixture.weights),
            "soft_labels": [source, label] if method.across else [label],
            "soft_weights": [1 - share, share] if method.across else [share],
            "seed": data.seed,
            "steps": model.steps,
            "guidance": model.guidance,
        }
        start = method.start(material)
        if start.noise is not None:
            record["strength"] = start.strength
        if model.inversion.kind == "negative-prompt" and method.latents == "inverted":
            start = replace(start, negative=(material.prompt,))
        if model.sampler.eta > 0:
            start = replace(start, seeds=(noise_seed(data.seed, label, index),))
        return start, record

    def _latents(self, label: int, sources: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Latents of these images [N, C, h, w], and their null-text embeddings [N, steps, S, D] if there are."""
        if not sources:
            return torch.empty(0, *self.model.backbone.latent_shape), None
        latents = torch.stack([self._latent(label, shot) for shot in sources])
        rows = [(self.keys[label][shot], self.data.few_shot.shots[label][shot].name) for shot in sources]
        if rows[0][0].kind != "null-text":
            return latents, None
        return latents, torch.stack([self.bank.load_unconditional(key, name) for key, name in rows])  # too big to keep

    def _load(self, label: int, shot: int) -> Tensor:
        """One latent [C, h, w]."""
        return self.bank.load(self.keys[label][shot], self.data.few_shot.shots[label][shot].name)
