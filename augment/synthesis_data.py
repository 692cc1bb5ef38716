"""What is to be synthesized: the few-shot set, the method, the mixtures and the plan, dealt to ranks as batches."""

import math
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
from augment.methods import METHODS, Material, MethodName
from augment.mixing import Mixing, count_sources, draw_mixture, noise_seed
from augment.shards import Plan, PlannedBatch, Sample, plan_batches, plan_shards
from augment.synthesizer import SynthesisBatch, Synthesizer


class SynthesisData(L.LightningDataModule):
    """The dataset to be made: its few-shot images, method, mixtures and plan.

    Args:
        output: Folder of the dataset.
        source: Where the real images come from.
        method: How a start is made; norm and mean adjustment as in the paper.
        shots: Real images per class.
        seed: Chooses the few-shot set and draws every mixture.
        classes: Make images of these classes only.
        mixing: How sources and weights are drawn.
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
    ) -> None:
        super().__init__()
        self.output = Path(output)
        self.source = source
        self.method_name: MethodName = method
        self.method = METHODS[method]
        self.seed = seed
        self.mixing = mixing
        self.plan = plan
        self.bank = Path(bank) if bank is not None else None
        self.overwrite = overwrite
        self.few_shot = choose_few_shot_set(self.source, shots, seed, classes, skip_bad)
        self.source_counts = {label: self._count_sources(label) for label in self.few_shot.labels}

    def _count_sources(self, label: int) -> int:
        name, available = self.few_shot.classes[label], len(self.few_shot.shots[label])
        count = count_sources(self.mixing, available, name)
        if count < self.method.min_sources:
            raise UserError(
                f"method: '{self.method_name}' needs {self.method.min_sources} sources, class '{name}' has {count}; "
                f"raise --shots or choose another --method"
            )
        return count

    def describe(self) -> dict[str, Any]:
        """Everything about the data that decides an image."""
        return {
            "method": self.method_name,
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
        data, model = self.data, self.model
        shots, name = data.few_shot.shots[label], data.few_shot.classes[label]
        mixture = draw_mixture(data.mixing, data.source_counts[label], len(shots), data.seed, label, index)
        latents, unconditional = zip(*(self._latent(label, n) for n in mixture.sources), strict=True)
        material = Material(
            torch.stack(latents),
            torch.tensor(mixture.weights, dtype=torch.float32),
            model.prompt_for(name),
            torch.stack(unconditional) if model.inversion.kind == "null-text" else None,
        )
        record = {
            "label": label,
            "class": name,
            "index": index,
            "method": data.method_name,
            "sources": [shots[n].name for n in mixture.sources],
            "weights": list(mixture.weights),
            "seed": data.seed,
            "steps": model.steps,
            "guidance": model.guidance,
        }
        start = data.method.start(material)
        if model.inversion.kind == "negative-prompt":
            start = replace(start, negative=start.prompts)
        if model.sampler.eta > 0:
            start = replace(start, seeds=(noise_seed(data.seed, label, index),))
        return start, record

    def _load(self, label: int, shot: int) -> tuple[Tensor, Tensor | None]:
        """One inverted latent [C, h, w], and its null-text embeddings [steps, S, D] if there are."""
        key, name = self.keys[label][shot], self.data.few_shot.shots[label][shot].name
        latent = self.bank.load(key, name)
        return latent, self.bank.load_unconditional(key, name) if self.model.inversion.kind == "null-text" else None
