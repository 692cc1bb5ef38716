"""What may a row change of the study's model? Its inversion, its sampling, a tuning, or the whole backbone."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse.typing import PositiveInt

from augment.backbones.latent import LatentBackbone
from augment.backbones.tuned import prompt_for_tuning
from augment.commands.presets import preset_like, preset_of
from augment.errors import UserError
from augment.inversion.inversion import Inversion
from augment.runtime.fingerprint import fingerprint
from augment.runtime.numbers import NonNegativeNumber
from augment.runtime.settings import checked
from augment.synthesis.synthesizer import Synthesizer
from augment.tuning.lora import Lora
from augment.tuning.settings import TuningSettings

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""No settings that differ."""


@dataclass(frozen=True)
class Sampling:
    """What a row may change of how starts become images; None is the model's own.

    Args:
        steps: Number of steps of the sampler.
        guidance: Strength of classifier-free guidance; 1 is without.
    """

    steps: PositiveInt | None = None
    guidance: NonNegativeNumber | None = None


@dataclass(frozen=True)
class Variant:
    """What a row changes of the study's model.

    Attributes:
        inversion: In place of the study's own.
        tuning: How the backbone is tuned to the few-shot set of each seed, once for all rows that ask for it.
        backbone: In place of the study's, with the settings of its preset: a preset, a Hub name, or a folder.
        model: What the model with that backbone says of itself, its weights included, as JSON.
        sampling: What differs from the study's own.
    """

    inversion: Inversion | None = None
    tuning: TuningSettings | None = None
    backbone: str | None = None
    model: str | None = None
    sampling: Sampling = Sampling()

    def describe(self) -> dict[str, Any]:
        """What decides images; what came later is told of only where it differs, a backbone by its weights."""
        described = asdict(self)
        del described["backbone"]
        if self.model is None:
            del described["model"]
        if self.sampling == Sampling():
            del described["sampling"]
        return described

    @property
    def name(self) -> str:
        """Part of a file's name that tells it from others; empty for the study's own model."""
        return "" if self == Variant() else f"+{fingerprint({'variant': self.describe()})[:8]}"


def make_variant(
    model: Synthesizer,
    inversion: Mapping[str, Any],
    tuned: Mapping[str, Any] | None,
    row: str,
    backbone: str | None = None,
    sampling: Mapping[str, Any] = NOTHING,
) -> Variant:
    """What a row changes, from the settings that differ.

    Args:
        model: The study's.
        inversion: Settings that differ from those of the model's inversion.
        tuned: Settings that differ from `augment tune`'s own; None is without tuning.
        row: Its name, for errors.
        backbone: That makes the row's images in place of the model's.
        sampling: Settings that differ from the model's own.

    Raises:
        UserError: If one is no setting, has a value that it cannot take, or the backbone cannot be had or tuned.
    """
    if backbone is not None and tuned is not None:
        problem = f"row '{row}' has a `backbone` of its own, and `tuned` is for the study's"
        raise UserError("methods", problem, "leave one of them out")
    try:
        described = None
        if backbone is not None:
            model = model_with(backbone, model.prompt)
            described = json.dumps(model.describe(), sort_keys=True)
        changed = None
        if inversion:
            given = checked(Inversion, {**vars(model.inversion), **inversion}, f"row '{row}', inversion")
            changed = Inversion(**given)
            model.backbone.check_inversion(changed.kind)
        sampled = Sampling(**checked(Sampling, sampling, f"row '{row}', sampling"))
        tuning = None if tuned is None else tuning_of(model, tuned, row)
        return Variant(changed, tuning, backbone, described, sampled)
    except UserError as error:
        raise UserError("methods", f"{error.argument}: {error.problem}", error.remedy) from error


def tuning_of(model: Synthesizer, tuned: Mapping[str, Any], row: str) -> TuningSettings:
    """The tuning that a row asks for.

    Raises:
        UserError: If the backbone cannot be tuned, or a setting is none.
    """
    if not isinstance(model.backbone, LatentBackbone) or "sample" not in model.backbone.abilities:
        problem = f"{type(model.backbone).__name__} cannot be tuned"
        raise UserError(f"row '{row}', tuned", problem, "leave `tuned` out")
    if "prompt" not in tuned and not isinstance(model.prompts.texts, tuple):
        problem = "with captions by class there is no one prompt to tune with"
        raise UserError(f"row '{row}', tuned", problem, "give `prompt` in the row's `tuned`")
    prompt = prompt_for_tuning(model.prompts.all[0], model.backbone.learns_words)
    given = checked(TuningSettings, {"prompt": prompt, **tuned}, f"row '{row}', tuned")
    lora = given.pop("lora")
    return TuningSettings(**given, lora=None if lora is None else Lora(**lora))


def changed_model(model: Synthesizer, variant: Variant, tuned: str | None = None) -> Synthesizer:
    """The study's model with what a variant changes; the networks are shared where they are the same.

    Args:
        model: The study's.
        variant: What changes.
        tuned: Folder of the finished tuning; None leaves the backbone as it is, with the class's name for {token}.
    """
    if variant.backbone is not None:
        model = model_with(variant.backbone, model.prompt)
    if variant.inversion is None and variant.tuning is None and variant.sampling == Sampling():
        return model
    backbone, prompt = model.backbone, None
    if variant.tuning is not None:
        prompt = variant.tuning.prompt
        if tuned is None:
            prompt = prompt.replace("{token}", "{class}")
        else:
            assert isinstance(backbone, LatentBackbone)
            backbone = backbone.with_tuning(tuned)
    sampling = variant.sampling
    return model.changed(backbone, variant.inversion or model.inversion, prompt, sampling.steps, sampling.guidance)


@lru_cache(maxsize=4)
def model_with(backbone: str, prompt: str) -> Synthesizer:
    """A model with the settings of a backbone's preset, the same one for all rows that ask for it.

    Args:
        backbone: A preset, a name on the Hugging Face Hub, or a folder.
        prompt: The study's, which takes the place of the preset's.

    Raises:
        UserError: If it cannot be had.
    """
    preset = preset_of(backbone) or preset_like(backbone)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Synthesizer, "model")
    settings = parser.parse_object({"model": preset.model | {"prompt": prompt}})
    model: Synthesizer = parser.instantiate_classes(settings).model
    return model
