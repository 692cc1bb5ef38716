"""Which methods are there? A line for each name, with the class that makes its starts."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from augment.errors import UserError
from augment.mix.centroids import Centroid
from augment.mix.diffuse_mix import DiffuseMix
from augment.mix.guided_imagination import GuidedImagination
from augment.mix.interpolation import MEANS, NORMS
from augment.mix.method import Method
from augment.mix.norm_aware import NormAware
from augment.mix.pairs import Circle, NormalisedLinear, Slerp
from augment.mix.single import Copy, DiffMix, SDEdit, TextToImage, Tint
from augment.runtime.settings import checked

METHODS: dict[str, Method] = {
    **{f"{norm}/{mean}": Centroid(norm, mean) for norm in NORMS for mean in MEANS},
    "nao": NormAware(),
    "slerp": Slerp(),
    "norm-lin": NormalisedLinear(),
    "circle": Circle(),
    "copy": Copy(),
    "tint": Tint(),
    "sdedit": SDEdit(),
    "diff-mix": DiffMix(),
    "gif": GuidedImagination(),
    "diffusemix": DiffuseMix(),
    "text2img": TextToImage(),
}
"""Each method with its authors' settings; a new one is a class in a file of this folder and a line here."""

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]

AUTHORS: Mapping[str, Any] = MappingProxyType({})
"""No settings given: those of the method's authors."""


def configure(name: MethodName, settings: Mapping[str, Any] = AUTHORS) -> Method:
    """The method of that name, with these settings.

    Args:
        name: One of `METHODS`.
        settings: Fields of the method's class by name, such as `{"strength": 0.3}`; what is left out, or None, stays
            as the method's authors have it.

    Raises:
        UserError: If the method is unknown, has no such setting, or cannot take its value.
    """
    if name not in METHODS:
        raise UserError("method", f"there is no '{name}'", f"choose from {', '.join(METHODS)}")
    method = METHODS[name]
    given = {setting: value for setting, value in settings.items() if value is not None}
    for setting in given:
        if setting not in describe(method):
            raise UserError(
                f"settings.{setting}",
                f"method '{name}' has no such setting",
                "leave it out, or choose another `method`",
            )
    if not given:
        return method
    own = {field.name: getattr(method, field.name) for field in fields(method)}
    configured: Method = type(method)(**checked(type(method), own | given, f"settings of method '{name}'"))
    return configured


def check_sources(name: MethodName, sources: int | None) -> None:
    """Refuse a number of sources that a method does not take; a study's rows share one, and take what they can of it.

    Raises:
        UserError: If it is not the method's own.
    """
    own = METHODS[name].sources
    if sources is not None and own is not None and sources != own:
        problem = f"{sources} are asked for, and method '{name}' takes {own}"
        raise UserError("mixing.sources", problem, "leave it out, or choose another `method`")


def describe(method: Method) -> dict[str, Any]:
    """The settings in force, authors' values included, as JSON has them, without what the method's name says."""
    names = [field.name for field in fields(method) if field.name not in method.in_name]
    values = {name: getattr(method, name) for name in names}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
