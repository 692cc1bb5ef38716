"""What does the sampler start from? One small class per method, and the registry of their names."""

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from augment.backbones.sampling import Start
from augment.interpolation import Mean, Norm, interpolate

MethodName = Literal[
    "lin/0", "lin/m", "lin/chm", "lin/lp",
    "fix/0", "fix/m", "fix/chm", "fix/lp",
    "nin/0", "nin/m", "nin/chm", "nin/lp",
    "cog/0", "cog/m", "cog/chm", "cog/lp",
    "ada/0", "ada/m", "ada/chm", "ada/lp",
]  # fmt: skip


@dataclass(frozen=True)
class Material:
    """What a method may build one image's start from.

    Attributes:
        latents: Inverted latents z_T of the chosen sources, float32 [N, C, h, w].
        weights: Their weights [N], with sum 1.
        prompt: The class's prompt.
        unconditional: Null-text embeddings of the sources, float32 [N, steps, S, D], if they were inverted so.
    """

    latents: Tensor
    weights: Tensor
    prompt: str
    unconditional: Tensor | None = None


class Method(Protocol):
    """A way to make a training image, said as the start it hands to the sampler."""

    @property
    def min_sources(self) -> int:
        """Fewest images of a class that it can work with."""

    def start(self, material: Material) -> Start:
        """The start of one image (a batch of one)."""


@dataclass(frozen=True)
class Centroid:
    """A weighted mixture of inverted latents at t = T (Landolsi & Kahl)."""

    norm: Norm
    mean: Mean
    min_sources: int = 1

    def start(self, material: Material) -> Start:
        """Interpolate the sources in float32; embeddings are mixed by `lin` (paper, Appendix B)."""
        mixed = interpolate(material.latents, material.weights, self.norm, self.mean)
        unconditional = None
        if material.unconditional is not None:
            unconditional = torch.einsum("n,nksd->ksd", material.weights, material.unconditional)[None]
        return Start(mixed[None], (material.prompt,), unconditional=unconditional)


def _centroid(name: str) -> Centroid:
    norm, mean = name.split("/")
    return Centroid(norm, mean)  # type: ignore[arg-type]  # both halves come from MethodName


METHODS: dict[MethodName, Method] = {name: _centroid(name) for name in get_args(MethodName)}
