"""What decides an image? One frozen value, made once before anything runs; its fingerprint is the dataset's."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from augment.backbones.abilities import check_abilities
from augment.backbones.base import PromptKind
from augment.backbones.tuned import Tuned
from augment.dataset.shard_writer import Sample
from augment.errors import UserError
from augment.images.few_shot import FewShotSet
from augment.mix.draws import Draws, Mixing, Mixture, count_sources, draw_mixture
from augment.mix.method import Method
from augment.mix.registry import AUTHORS, MethodName, configure, describe
from augment.runtime.fingerprint import fingerprint
from augment.synthesis.plan import Plan, plan_shards
from augment.synthesis.settings import ModelSettings
from augment.synthesis.synthesizer import Synthesizer


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an image's pixels. What does not (device, workers, folders, progress) is not in it.

    Attributes:
        model: Of the backbone, its inversion and its sampler.
        method_name: As the paper writes it.
        method: The class of that name, with its settings.
        mixing: How sources and weights are drawn.
        plan: Size and layout of the dataset, its batch size a number.
        seed: Draws every mixture.
        few_shot: The real images.
    """

    model: ModelSettings
    method_name: MethodName
    method: Method
    mixing: Mixing
    plan: Plan
    seed: int
    few_shot: FewShotSet

    def describe(self) -> dict[str, Any]:
        """All of it as JSON holds it: what `dataset.json` calls the configuration."""
        return self.model.describe() | {
            "method": self.method_name,
            "settings": self.settings,
            "mixing": asdict(self.mixing),
            "plan": asdict(self.plan),
            "seed": self.seed,
            "classes": list(self.few_shot.classes),
            "few_shot": [asdict(shot) for shot in self.few_shot.all],
        }

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Of the method; files by what they hold."""
        return describe(self.method) | self.method.identities()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides the dataset's bytes."""
        return fingerprint(self.describe())

    @cached_property
    def shards(self) -> tuple[tuple[Sample, ...], ...]:
        """All samples of all shards."""
        return tuple(plan_shards(self.plan, self.few_shot.labels))

    def prompt_of(self, label: int, index: int) -> str:
        """The prompt of image `index` of a class, drawn where there are several."""
        return self.model.prompts.draw(self.few_shot.classes[label], Draws(self.seed, label, index))

    @property
    def inversion_prompts(self) -> dict[int, str]:
        """What the few-shot images of every class are inverted with."""
        return self.model.inversion_prompts(self.few_shot)

    @property
    def sampled_prompts(self) -> Iterator[str]:
        """All prompts that the sampler may be given; they may be millions."""
        for label in self.few_shot.labels:
            for prompt in self.model.prompts.of(self.few_shot.classes[label]):
                yield from self.method.prompts(prompt)

    def mixture(self, label: int, index: int) -> tuple[int, Mixture]:
        """Of image `index` of class `label`: the class that its sources are of, and its mixture of them."""
        labels = self.few_shot.labels
        source = Draws(self.seed, label, index).other_class(labels) if self.method.across else label
        mixing = self.mixing if self.method.weighted else replace(self.mixing, weights="centroid")
        available = self.available(source)
        return source, draw_mixture(mixing, self.count_sources(source), available, self.seed, label, index)

    @property
    def draws(self) -> int:
        """Latents of each few-shot image that mixtures may take."""
        return self.model.inversion.latents_per_image(self.method.latents)

    def available(self, label: int) -> int:
        """Latents of a class that mixtures may take."""
        return len(self.few_shot.shots[label]) * self.draws

    def count_sources(self, label: int) -> int:
        """How many of a class's images, or of their draws, are mixed into one.

        Raises:
            UserError: If the class has fewer than the method or the mixing needs.
        """
        name, available = self.few_shot.classes[label], self.available(label)
        if self.method.sources is None:
            return count_sources(self.mixing, available, name, "shots" if self.draws == 1 else "latents")
        if available < self.method.sources:
            raise UserError(
                "method",
                f"'{self.method_name}' needs {self.method.sources} sources, class '{name}' has {available}",
                "raise `shots` or choose another `method`",
            )
        return self.method.sources


def make_recipe(
    model: Synthesizer,
    few_shot: FewShotSet,
    method: MethodName = "nin/chm",
    seed: int = 0,
    mixing: Mixing = Mixing(),  # noqa: B008  (frozen)
    plan: Plan = Plan(),  # noqa: B008  (frozen)
    settings: Mapping[str, Any] = AUTHORS,
) -> Recipe:
    """Freeze all that decides an image, or say why it cannot work.

    Args:
        model: Backbone and settings of inversion and sampler.
        few_shot: The real images, as `choose_few_shot_set` chose them.
        method: How a start is made.
        seed: Draws every mixture; the few-shot set's own seed is the usual choice.
        mixing: How sources and weights are drawn.
        plan: Size and layout of the dataset.
        settings: Of the method, by name; what is left out stays as the method's authors have it.

    Raises:
        UserError: If the method does not fit the backbone, the prompt, the classes or the number of images, or the
            batch size has not been settled.

    Example:
        >>> import augment
        >>> digits = augment.Digits()
        >>> few_shot = augment.choose_few_shot_set(digits, shots=3, seed=0, classes=["three", "eight"])
        >>> backbone = augment.StableDiffusion("digits")
        >>> model = augment.Synthesizer(backbone, augment.Inversion(steps=5), steps=5, prompt="a digit")
        >>> recipe = augment.make_recipe(model, few_shot, method="nin/chm", plan=augment.Plan(per_class=4))
        >>> recipe.method
        Centroid(norm='nin', mean='chm')
    """
    if plan.batch_size == "auto":
        raise UserError("plan.batch_size", "'auto' is no number yet", "give one, or let the command find it")
    recipe = Recipe(
        model=model.settings,
        method_name=method,
        method=configure(method, settings),
        mixing=mixing,
        plan=plan,
        seed=seed,
        few_shot=few_shot,
    )
    check_abilities(method, recipe.method.needs, type(model.backbone).__name__, model.backbone.abilities)
    for label in few_shot.labels:
        recipe.count_sources(label)
    recipe.model.prompts.check(few_shot)
    check_prompts(recipe, model.backbone.prompts)
    check_tuned(recipe, model.backbone.tuned)
    recipe.method.identities()  # files that are missing are told of now
    if model.backbone.prompts == "class":
        model.backbone.condition(list(recipe.inversion_prompts.values()))
    return recipe


def check_prompts(recipe: Recipe, kind: PromptKind) -> None:
    """Refuse a method that cannot work with this kind of prompt, or with this set of classes.

    Raises:
        UserError: If so.
    """
    name, method, few_shot = recipe.method_name, recipe.method, recipe.few_shot
    if method.across and len(few_shot.labels) < 2:
        raise UserError(
            "method",
            f"'{name}' goes from one class to another, the few-shot set has images of one",
            "add a class to `classes` or choose another `method`",
        )
    if method.prompt_tells_class and len(few_shot.classes) > 1:  # all of the source's: one may be made at a time
        if kind == "none":
            raise UserError(
                "method",
                f"'{name}' tells the model the class by its prompt, and {recipe.model.backbone} reads none",
                "choose another `method` or `backbone`",
            )
        if not recipe.model.prompts.tell_class:
            raise UserError(
                "model.prompt",
                f"'{recipe.model.prompts.all[0]}' is the same for all {len(few_shot.classes)} classes, and '{name}' "
                f"knows a class by its prompt alone",
                "put {class} into `model.prompt` or choose another `method`",
            )
    if describe(method).get("suffixes") and kind != "text":
        raise UserError("settings.suffixes", f"{recipe.model.backbone} reads no text", "leave `settings.suffixes` out")
    if recipe.model.prompts.varied and kind != "text":
        raise UserError("model.prompt", f"{recipe.model.backbone} reads no text", "give one prompt and no contexts")


MOST_CHECKED = 1000
"""Prompts of a class that are looked at beforehand; of millions the sampler would find out."""


def check_tuned(recipe: Recipe, tuned: Tuned | None) -> None:
    """Refuse a backbone that was tuned on other images, which would leak into this few-shot set's dataset.

    Raises:
        UserError: If so, or if the prompt asks for a new word that no tuning has brought.
    """
    asking = [text for text in recipe.model.prompts.all if "{token}" in text]
    if asking and (tuned is None or not tuned.embeddings):
        remedy = "give a folder of `augment tune`, or write {class}"
        raise UserError("model.prompt", f"'{asking[0]}' has {{token}}, and no such word was learned", remedy)
    if tuned is None:
        return
    for label in recipe.few_shot.labels:
        name = recipe.few_shot.classes[label]
        for prompt in islice(recipe.model.prompts.of(name), MOST_CHECKED):
            if tuned.owners and tuned.owners[tuned.owner_of(prompt)] != name:
                raise UserError("model.prompt", f"'{prompt}' names another class than '{name}'", "put {token} into it")
        if {shot.sha256 for shot in recipe.few_shot.shots[label]} != tuned.images.get(name, frozenset()):
            raise UserError(
                "tuned",
                f"'{tuned.folder}' was tuned on other images of class '{name}' than this few-shot set has",
                "give the same `shots`, `seed` and images as to `augment tune`",
            )
