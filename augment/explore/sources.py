"""What is mixed? The inverted latents of one class, and their centroids as starts of the sampler."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from augment.backbones.start import Start
from augment.errors import UserError
from augment.mix.interpolation import MEANS, NORMS, interpolate
from augment.mix.registry import MethodName


@dataclass(frozen=True)
class Sources:
    """Inverted latents of one class, to be mixed.

    Attributes:
        latents: Float32 [K, C, h, w].
        prompt: The prompt of the class.
        unconditional: Null-text embeddings [K, steps, S, D], if they were inverted so.
    """

    latents: Tensor
    prompt: str
    unconditional: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)

    def mix(self, chosen: Sequence[int], weights: Tensor, method: MethodName) -> Start:
        """The start of one image: some of the latents, weighted [N], by one pair of norm and mean adjustment.

        Raises:
            UserError: If the method is no such pair.
        """
        norm, _, mean = method.partition("/")
        if norm not in NORMS or mean not in MEANS:
            raise UserError("method", f"'{method}' is no pair of norm and mean adjustment", "give one such as nin/chm")
        rows = list(chosen)
        mixed = interpolate(self.latents[rows], weights, norm, mean)
        unconditional = None
        if self.unconditional is not None:  # embeddings are mixed linearly (Landolsi & Kahl, Appendix B)
            unconditional = torch.einsum("n,nksd->ksd", weights, self.unconditional[rows])[None]
        return Start(mixed[None], (self.prompt,), unconditional=unconditional)

    def centroid(self, chosen: Sequence[int], method: MethodName) -> Start:
        """The start of the chosen latents' centroid: all weights alike."""
        return self.mix(chosen, torch.full((len(chosen),), 1 / len(chosen)), method)


def counts_up_to(counts: Sequence[int], available: int) -> list[int]:
    """The numbers of sources that can be had; where some cannot, all there are take their place."""
    possible = [n for n in counts if n <= available]
    return possible if len(possible) == len(counts) or available in possible else [*possible, available]
