"""Many images of a class into one: the weighted mixtures of inverted latents at t = T."""

from dataclasses import dataclass
from typing import ClassVar

from augment.backbones.start import Start
from augment.mix.interpolation import Mean, Norm, interpolate
from augment.mix.method import Material, Method


@dataclass(frozen=True)
class Centroid(Method):
    """A weighted mixture with its norm and mean adjusted (Landolsi & Kahl, Section 5; `cog`: Bodin et al. 2024)."""

    norm: Norm
    mean: Mean
    in_name: ClassVar[tuple[str, ...]] = ("norm", "mean")

    def start(self, material: Material) -> Start:
        """Interpolate the sources in float32."""
        return material.start(interpolate(material.latents, material.weights, self.norm, self.mean))
