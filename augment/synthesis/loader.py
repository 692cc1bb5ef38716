"""The recipe's images, dealt to the ranks as batches of starts: the one place where methods meet latents."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from augment.backbones.start import Start, stack
from augment.dataset.folder import open_folder
from augment.dataset.manifest import describe_dataset
from augment.dataset.verify import unfinished
from augment.images.pixels import to_tensor
from augment.images.sources import ImageSource
from augment.inversion.bank import LatentBank, LatentKey
from augment.mix.draws import Draws, noise_seed
from augment.mix.method import Finish, Material, Originals
from augment.runtime.dealing import deal, dealt_loader
from augment.runtime.processes import check_shared
from augment.runtime.profile import profile
from augment.synthesis.plan import PlannedBatch, plan_batches
from augment.synthesis.recipe import Recipe
from augment.synthesis.synthesizer import SynthesisBatch

LATENT_CACHE_BYTES = 2**31
"""Of host memory: more than all latents of a few-shot set, unless they are very many."""


class SynthesisLoader(L.LightningDataModule):
    """Feeds the planned batches of unfinished shards to the synthesizer.

    Args:
        recipe: What is to be made.
        output: Folder of the dataset.
        overwrite: Delete a dataset of another recipe in `output` instead of refusing.
        bank: Where the latents lie.
        keys: Their keys, by class.
        latent_shape: (C, h, w) of one latent.
        source: Where the real images are, for a method that finishes with them; starts alone need none.
    """

    def __init__(
        self,
        recipe: Recipe,
        output: Path,
        overwrite: bool,
        bank: LatentBank,
        keys: Mapping[int, tuple[LatentKey, ...]],
        latent_shape: tuple[int, int, int],
        source: ImageSource | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer units than processes
        self.prepare_data_per_node = False  # one shared file system
        self.recipe = recipe
        self.output = output
        self.overwrite = overwrite
        self.bank = bank
        self.keys = keys
        self.latent_shape = latent_shape
        self.source = source
        self.pending: list[int] = []
        self._latent = lru_cache(maxsize=max(1, LATENT_CACHE_BYTES // (4 * math.prod(latent_shape))))(self._load)

    def prepare_data(self) -> None:
        """Open the folder, once per run: refuse another recipe's dataset, or delete it if told to."""
        open_folder(self.output, describe_dataset(self.recipe.describe()), self.overwrite)

    def setup(self, stage: str) -> None:
        """Find the unfinished shards; every rank does so before any of them writes."""
        check_shared(self.trainer, self.output)
        self.pending = unfinished(self.output, self.recipe.shards)

    def predict_dataloader(self) -> DataLoader[SynthesisBatch]:
        """This rank's batches: all those of its shards, shard by shard."""
        size = int(self.recipe.plan.batch_size)
        batches = [
            batch
            for shard in deal(self.pending, self.trainer)
            for batch in plan_batches(shard, self.recipe.shards[shard], size)
        ]
        return dealt_loader(self._batch, batches)

    def starts(self) -> Iterator[Start]:
        """The starts of all images, in the batches that they are sampled in, without sampling them."""
        for number, shard in enumerate(self.recipe.shards):
            for batch in plan_batches(number, shard, int(self.recipe.plan.batch_size)):
                yield stack([self._sample(sample.label, sample.index)[0] for sample in batch.samples])

    def _batch(self, planned: PlannedBatch) -> SynthesisBatch:
        assert self.trainer is not None
        with profile(self.trainer, "mix"):
            starts, records = zip(*(self._sample(s.label, s.index) for s in planned.samples), strict=True)
            finish = Finish(self.recipe.method, self._originals(planned)) if self.recipe.method.finishes else None
            return SynthesisBatch(planned, stack(list(starts)), records, finish)

    def _originals(self, planned: PlannedBatch) -> Originals:
        """The first source of each image, as it was encoded, and its random numbers."""
        assert self.source is not None
        recipe, images = self.recipe, []
        for sample in planned.samples:
            label, mixture = recipe.mixture(sample.label, sample.index)
            shot = recipe.few_shot.shots[label][mixture.sources[0] // recipe.draws]
            images.append(to_tensor(self.source.image(shot), recipe.model.resolution))
        draws = tuple(Draws(recipe.seed, sample.label, sample.index) for sample in planned.samples)
        return Originals(torch.stack(images), draws, recipe.few_shot.classes)

    def _sample(self, label: int, index: int) -> tuple[Start, dict[str, Any]]:
        """The start of one image, and what is written beside it."""
        recipe, method = self.recipe, self.recipe.method
        source, mixture = recipe.mixture(label, index)
        shots = recipe.few_shot.shots[source]
        latents, unconditional = self._latents(source, mixture.sources)
        material = Material(
            latents,
            torch.tensor(mixture.weights, dtype=torch.float32),
            recipe.prompt_of(label, index),
            Draws(recipe.seed, label, index),
            unconditional,
        )
        share = method.label_share
        record = {
            "label": label,
            "class": recipe.few_shot.classes[label],
            "index": index,
            "method": recipe.method_name,
            "sources": [shots[n // recipe.draws].name for n in mixture.sources],
            "weights": list(mixture.weights),
            "soft_labels": [source, label] if method.across else [label],
            "soft_weights": [1 - share, share] if method.across else [share],
            "seed": recipe.seed,
            "steps": recipe.model.steps,
            "guidance": recipe.model.guidance,
        }
        if recipe.model.prompts.varied:
            record["prompt"] = material.prompt
        if recipe.draws > 1:
            record["draws"] = [n % recipe.draws for n in mixture.sources]
        start = method.start(material)
        if start.noise is not None:
            record["strength"] = start.strength
        if recipe.model.inversion.kind == "negative-prompt" and method.latents == "inverted":
            start = replace(start, negative=(recipe.model.prompts.for_inversion(recipe.few_shot.classes[source]),))
        if recipe.model.sampler.eta > 0:
            start = replace(start, seeds=(noise_seed(recipe.seed, label, index),))
        return start, record

    def _latents(self, label: int, sources: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """These of a class's latents [N, C, h, w], and their null-text embeddings [N, steps, S, D] if there are."""
        if not sources:
            return torch.empty(0, *self.latent_shape), None
        latents = torch.stack([self._latent(label, source) for source in sources])
        rows = [self._row(label, source) for source in sources]
        if rows[0][0].kind != "null-text":
            return latents, None
        return latents, torch.stack([self.bank.load_unconditional(key, name) for key, name in rows])  # too big to keep

    def _load(self, label: int, source: int) -> Tensor:
        """One latent [C, h, w]."""
        return self.bank.load(*self._row(label, source))

    def _row(self, label: int, source: int) -> tuple[LatentKey, str]:
        """The key of one latent, and the name of its image."""
        shot = self.recipe.few_shot.shots[label][source // self.recipe.draws]
        return self.keys[label][source], shot.name
