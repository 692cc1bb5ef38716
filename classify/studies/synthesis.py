"""How does a study speak to augmentation? A wanted set as a recipe, and the real images that it is made from."""

from collections.abc import Iterator
from pathlib import Path

from augment.backbones.start import LatentKind, Start
from augment.images.few_shot import FewShotSet, choose_few_shot_set
from augment.inversion.bank import LatentBank
from augment.inversion.fill import latent_keys
from augment.mix.registry import METHODS, MethodName
from augment.synthesis.loader import SynthesisLoader
from augment.synthesis.plan import Plan
from augment.synthesis.recipe import Recipe, make_recipe
from augment.synthesis.synthesizer import Synthesizer
from classify.studies.rows import WantedSet
from classify.studies.settings import Study


def few_shot_set(study: Study, shots: int, seed: int) -> FewShotSet:
    """The real images of a seed; those of fewer shots are some of the more."""
    return choose_few_shot_set(study.source, shots, seed, skip_bad=study.skip_bad)


def recipe_of(study: Study, model: Synthesizer, wanted: WantedSet, plan: Plan) -> Recipe:
    """Everything that decides the images of a synthetic set.

    Args:
        study: Gives the real images.
        model: The study's, with what the set's row changes of it.
        wanted: The set.
        plan: The set's, with its batch size settled.

    Raises:
        UserError: If the method cannot work with the model, the prompt or the few-shot set.
    """
    few_shot = few_shot_set(study, wanted.shots, wanted.seed)
    return make_recipe(model, few_shot, wanted.method, wanted.seed, wanted.mixing, plan, wanted.settings)


def starts_of(model: Synthesizer, recipe: Recipe, dataset: Path, bank: Path) -> Iterator[Start]:
    """What the sampler began with, of all images of a set; they are mixed again, and nothing is sampled.

    Args:
        model: The study's, with what the set's row changes of it.
        recipe: The set's.
        dataset: Its folder.
        bank: Holds its latents.
    """
    backbone, method = model.backbone, recipe.method
    keys = latent_keys(backbone, recipe.few_shot, recipe.inversion_prompts, recipe.model.inversion, method.latents)
    stored = LatentBank(bank, backbone.identity, backbone.latent_shape)
    return SynthesisLoader(recipe, dataset, False, stored, keys, backbone.latent_shape).starts()


def latents_of(method: MethodName) -> LatentKind | None:
    """The kind of latents that a method begins with; None for one that looks at no image."""
    return METHODS[method].latents
