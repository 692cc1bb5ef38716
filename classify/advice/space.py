"""What may the advisor choose from? Policies, methods and the values of their settings; the first is the plain one."""

from dataclasses import dataclass, field
from typing import Any

from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt

from augment.runtime.numbers import NonNegativeNumber, PositiveNumber

NONE = "none"
"""Real images alone among the methods, and no policy among the policies; both are always tried."""


def usual_policies() -> dict[str, dict[str, Any]]:
    """Classical augmentation that costs nothing."""
    return {
        "randaugment": {"auto_augment": "rand-m9-mstd0.5"},
        "trivialaugment": {"trivial_augment": True},
        "mixup": {"mixup": 0.2},
        "cutmix": {"cutmix": 1.0},
        "strong crop": {"crop_scale": [0.2, 1.0]},
    }


def usual_methods() -> list[str]:
    """Mixtures of latents by the paper, their plain form, and single images."""
    return ["nin/chm", "sdedit", "text2img", "fix/chm", "cog/chm", "fix/0", "slerp", "tint", "diff-mix"]


def usual_settings() -> dict[str, dict[str, list[Any]]]:
    """Settings of methods that decide how far an image is from its source."""
    return {"sdedit": {"strength": [0.5, 0.25, 0.75]}, "diff-mix": {"strength": [0.7, 0.5, 0.9]}}


@dataclass(frozen=True)
class Space:
    """The values that candidates are made of. Of every list the first value is the plain one, which is tried first.

    Args:
        policies: Classical augmentation by name: the settings of `batches` that it changes.
        methods: Methods that make synthetic images; those that the backbone cannot do are left out.
        settings: Values of a method's own settings, by method and setting.
        sources: Numbers of images that are mixed into one; null is three, or all where there are fewer.
        concentration: Concentrations of the random weights of mixtures.
        steps: Steps of the sampler and of the inversion; null is the backbone's own.
        guidance: Strengths of classifier-free guidance; null is the backbone's own.
        forward_steps: First steps of the inversion that noise is added in place of.
        tunings: Ways to tune the backbone to the training images first, by name: the settings that differ from those
            of `augment tune`; null is without.
        per_class: Numbers of synthetic images per class.
        share: Shares of the training images that are synthetic.
        combine: Whether synthetic images may be combined with a policy.
    """

    policies: dict[str, dict[str, Any]] = field(default_factory=usual_policies)
    methods: list[str] = field(default_factory=usual_methods)
    settings: dict[str, dict[str, list[Any]]] = field(default_factory=usual_settings)
    sources: list[PositiveInt | None] = field(default_factory=lambda: [None, 2, 5])
    concentration: list[PositiveNumber] = field(default_factory=lambda: [1.0, 0.3, 3.0])
    steps: list[PositiveInt | None] = field(default_factory=lambda: [None, 20])
    guidance: list[NonNegativeNumber | None] = field(default_factory=lambda: [None, 2.0, 5.0])
    forward_steps: list[NonNegativeInt] = field(default_factory=lambda: [0, 3])
    tunings: dict[str, dict[str, Any] | None] = field(default_factory=lambda: {"untuned": None, "tuned": {}})
    per_class: list[PositiveInt] = field(default_factory=lambda: [50, 20, 100])
    share: list[ClosedUnitInterval] = field(default_factory=lambda: [0.5, 0.25, 0.75])
    combine: bool = True
