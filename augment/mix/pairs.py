"""Two images of a class into one: starts on the line, the arc or the circle through two inverted latents."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from jsonargparse.typing import ClosedUnitInterval

from augment.backbones.start import Start
from augment.errors import UserError
from augment.mix.interpolation import circle, interpolate, slerp
from augment.mix.method import Material, Method

SWITCH = 0.3
"""Diff-II's share of the schedule for its first prompts."""


@dataclass(frozen=True)
class Slerp(Method):
    """Spherical linear interpolation (Shoemake 1985; Landolsi & Kahl, Eq. 3), at the share of the second weight."""

    sources: ClassVar[int | None] = 2

    def start(self, material: Material) -> Start:
        """The point of the arc between the two."""
        p, q = material.latents
        return material.start(slerp(p, q, float(material.weights[1])))


@dataclass(frozen=True)
class NormalisedLinear(Method):
    """The line between two latents over the standard deviation that it has for independent Gaussians.

    With share g of the second this is (1 - g) p + g q over sqrt(g (2 g - 2) + 1): `cog` (Bodin et al. 2024), N = 2.
    """

    sources: ClassVar[int | None] = 2

    def start(self, material: Material) -> Start:
        """The point of the line, back at unit variance."""
        return material.start(interpolate(material.latents, material.weights, "cog", "0"))


@dataclass(frozen=True)
class Circle(Method):
    """A uniformly random point of the whole great circle through two latents (Diff-II, Wang & Chen 2025).

    With suffixes, sampling has the two stages of the paper: until the switch the class's prompt is followed by one of
    them, drawn at random, and from there on it stands alone.

    Args:
        suffixes: What may follow the prompt in the first stage, such as " flying over the sea"; none is one stage.
        switch: Share of the schedule, t / T from 1 down, that the first stage takes; the authors' is 0.3.
    """

    suffixes: tuple[str, ...] = ()
    switch: ClosedUnitInterval = SWITCH
    sources: ClassVar[int | None] = 2
    weighted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.suffixes and self.switch != SWITCH:
            raise UserError("settings.switch", "there is nothing to switch to", "give `settings.suffixes` too")

    def prompts(self, prompt: str) -> tuple[str, ...]:
        """The class's prompt, alone and with each suffix."""
        return (prompt, *(prompt + suffix for suffix in self.suffixes))

    def start(self, material: Material) -> Start:
        """The point at a random angle, and the two prompts."""
        p, q = material.latents
        start = material.start(circle(p, q, 2 * math.pi * material.draws.uniform()))
        if not self.suffixes:
            return start
        first = material.prompt + self.suffixes[material.draws.choose(len(self.suffixes))]
        return replace(start, prompts=(first,), late_prompts=(material.prompt,), switch=float(self.switch))
