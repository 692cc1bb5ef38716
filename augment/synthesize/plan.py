"""What is to be made? The few-shot set, the method, the mixtures and the plan of a dataset."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse.typing import NonNegativeInt, PositiveInt

from augment.dataset.manifest import (
    check_folder,
    describe_dataset,
    read_manifest,
)
from augment.dataset.shards import Plan, Sample, plan_shards
from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageSource
from augment.mix.draws import Draws, Mixing, Mixture, count_sources, draw_mixture
from augment.mix.registry import MethodName, MethodSettings, configure, describe
from augment.synthesize.synthesizer import Synthesizer


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


def plan_dataset(model: Synthesizer, data: SynthesisData) -> dict[str, Any]:
    """The manifest of what is to be made; the batch size `auto` becomes that of the dataset that is to be resumed.

    Raises:
        UserError: If the method does not fit, or the folder holds another dataset that is not to be overwritten.
    """
    check_method(model, data)
    planned, begun = data.plan, data.output / "dataset.json"
    if planned.batch_size == "auto" and begun.is_file():
        size = read_manifest(data.output)["config"].get("plan", {}).get("batch_size")
        data.plan = replace(planned, batch_size=size)
    manifest = describe_dataset(model.describe() | data.describe())
    check_folder(data.output, manifest, data.overwrite)
    if begun.is_file() and read_manifest(data.output)["fingerprint"] != manifest["fingerprint"]:
        data.plan = planned  # the other dataset will be deleted, its batch size with it
        manifest = describe_dataset(model.describe() | data.describe())
    return manifest
