"""What is to be synthesized: the few-shot set, the method, the mixtures and the plan, dealt to ranks as batches."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from augment.backbones.start import Start, stack
from augment.dataset.manifest import open_folder
from augment.dataset.shards import PlannedBatch, plan_batches
from augment.dataset.verify import unfinished
from augment.invert.bank import LatentBank, LatentKey
from augment.mix.draws import Draws, noise_seed
from augment.mix.registry import Material
from augment.runtime.dealing import deal, dealt_loader
from augment.runtime.processes import check_shared
from augment.synthesize.plan import SynthesisData
from augment.synthesize.synthesizer import SynthesisBatch, Synthesizer

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
