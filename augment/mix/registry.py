"""Which methods are there? Their names, and the settings that some of them have; each file here is a kind of method."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from jsonargparse.typing import ClosedUnitInterval, PositiveFloat

from augment.errors import UserError
from augment.mix.centroids import Centroid
from augment.mix.interpolation import MEANS, NORMS
from augment.mix.method import LatentKind, Material, Method
from augment.mix.norm_aware import NormAware
from augment.mix.pairs import Circle, NormalisedLinear, Slerp
from augment.mix.single import Copy, DiffMix, SDEdit, TextToImage, Tint

__all__ = ["METHODS", "LatentKind", "Material", "Method", "MethodName", "MethodSettings", "configure", "describe"]

MethodName = Literal[
    "lin/0", "lin/m", "lin/chm", "lin/lp",
    "fix/0", "fix/m", "fix/chm", "fix/lp",
    "nin/0", "nin/m", "nin/chm", "nin/lp",
    "cog/0", "cog/m", "cog/chm", "cog/lp",
    "ada/0", "ada/m", "ada/chm", "ada/lp",
    "nao", "slerp", "norm-lin", "circle", "copy", "tint", "sdedit", "diff-mix", "text2img",
]  # fmt: skip

METHODS: dict[MethodName, Method] = {
    **{f"{norm}/{mean}": Centroid(norm, mean) for norm in NORMS for mean in MEANS},  # type: ignore[misc]
    "nao": NormAware(),
    "slerp": Slerp(),
    "norm-lin": NormalisedLinear(),
    "circle": Circle(),
    "copy": Copy(),
    "tint": Tint(),
    "sdedit": SDEdit(),
    "diff-mix": DiffMix(),
    "text2img": TextToImage(),
}


@dataclass(frozen=True)
class MethodSettings:
    """What can be set of a method; null leaves it at its authors' value, and what a method does not have is refused.

    Args:
        strength: `sdedit` (0.5 if null), `diff-mix` (0.7): share of the schedule that is denoised. Of a list, such as
            DA-Fusion's [0.25, 0.5, 0.75, 1], `sdedit` draws one for each image.
        gamma: `diff-mix` (0.5): the label is strength^gamma on the prompt's class, the rest on the source's.
        blend: `tint`: share of fresh noise; null draws it uniformly from [0, 1] for each image.
        suffixes: `circle`: one of them, drawn at random, follows the prompt in the first stage of sampling.
        switch: `circle` (0.3): share of the schedule that the first stage takes.
    """

    strength: ClosedUnitInterval | list[ClosedUnitInterval] | None = None
    gamma: PositiveFloat | None = None
    blend: ClosedUnitInterval | None = None
    suffixes: list[str] | None = None
    switch: ClosedUnitInterval | None = None


def configure(name: MethodName, settings: MethodSettings = MethodSettings()) -> Method:
    """The method of that name, with these settings.

    Raises:
        UserError: If a setting is given that the method does not have, or that would do nothing.
    """
    method: Any = METHODS[name]
    known = {field.name for field in fields(method)}
    given = {f.name: value for f in fields(settings) if (value := getattr(settings, f.name)) is not None}
    for setting in given:
        if setting not in known:
            raise UserError(
                f"settings.{setting}: method '{name}' has no such setting; leave it out, or choose another --method"
            )
    if "switch" in given and not given.get("suffixes"):
        raise UserError("settings.switch: there is nothing to switch to; give --data.settings.suffixes too")
    if "strength" in given and isinstance(given["strength"], list) and (name == "diff-mix" or not given["strength"]):
        raise UserError(
            f"settings.strength: {given['strength']} is no strength that '{name}' can take; give one number"
        )
    given = {setting: tuple(value) if isinstance(value, list) else value for setting, value in given.items()}
    configured: Method = replace(method, **given)
    return configured


def describe(method: Method) -> dict[str, Any]:
    """The settings in force, authors' values included, as JSON has them; norm and mean are in the name already."""
    names = [field.name for field in fields(MethodSettings) if hasattr(method, field.name)]
    values = {name: getattr(method, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
