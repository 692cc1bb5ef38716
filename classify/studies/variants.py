"""What may a row change of the study's model? Its inversion, its sampling, and a tuning to the few-shot set."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from jsonargparse.typing import PositiveInt

from augment.backbones.latent import LatentBackbone
from augment.backbones.tuned import prompt_for_tuning
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
        sampling: What differs from the study's own.
    """

    inversion: Inversion | None = None
    tuning: TuningSettings | None = None
    sampling: Sampling = Sampling()

    def describe(self) -> dict[str, Any]:
        """As keys of cells and names of sets hold it; the sampling, which came later, only where it differs."""
        described = asdict(self)
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
    sampling: Mapping[str, Any] = NOTHING,
) -> Variant:
    """What a row changes, from the settings that differ.

    Args:
        model: The study's.
        inversion: Settings that differ from those of the model's inversion.
        tuned: Settings that differ from `augment tune`'s own; None is without tuning.
        row: Its name, for errors.
        sampling: Settings that differ from the model's own.

    Raises:
        UserError: If one is no setting, has a value that it cannot take, or the backbone cannot be tuned.
    """
    try:
        changed = None
        if inversion:
            given = checked(Inversion, {**vars(model.inversion), **inversion}, f"row '{row}', inversion")
            changed = Inversion(**given)
            model.backbone.check_inversion(changed.kind)
        sampled = Sampling(**checked(Sampling, sampling, f"row '{row}', sampling"))
        return Variant(changed, None if tuned is None else tuning_of(model, tuned, row), sampled)
    except UserError as error:
        raise UserError("methods", f"{error.argument}: {error.problem}", error.remedy) from error


def tuning_of(model: Synthesizer, tuned: Mapping[str, Any], row: str) -> TuningSettings:
    """The tuning that a row asks for.

    Raises:
        UserError: If the backbone cannot be tuned, or a setting is none.
    """
    if not isinstance(model.backbone, LatentBackbone):
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
    if variant == Variant():
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
