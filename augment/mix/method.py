"""What is a method? The material it is given, what it declares of itself, and the start it must make of it.

Most leave the sampler's latents alone. Those that do not say so (`finishes`), and are given the real images again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from augment.backbones.abilities import Ability
from augment.backbones.start import LatentKind, Start, upload
from augment.mix.draws import Draws

Decode = Callable[[Tensor], Tensor]
"""The backbone's decoder: clean latents [B, C, h, w] to images [B, 3, H, W] in [-1, 1]."""


@dataclass(frozen=True)
class Material:
    """What a method may build one image's start from.

    Attributes:
        latents: Of the chosen sources, of the kind that the method asks for, float32 [N, C, h, w]; N may be 0.
        weights: Their weights [N], with sum 1.
        prompt: The class's prompt.
        draws: The image's own random numbers.
        unconditional: Null-text embeddings of the sources, float32 [N, steps, S, D], if they were inverted so.
    """

    latents: Tensor
    weights: Tensor
    prompt: str
    draws: Draws
    unconditional: Tensor | None = None

    def noise(self) -> Tensor:
        """Standard normal noise in the shape of one latent [C, h, w]."""
        return self.draws.noise(tuple(self.latents.shape[1:])).to(self.latents.device)

    def start(self, latent: Tensor) -> Start:
        """A start at t = T from `latent` [C, h, w]; null-text embeddings are mixed by `lin` (paper, Appendix B)."""
        unconditional = None
        if self.unconditional is not None:
            unconditional = torch.einsum("n,nksd->ksd", self.weights, self.unconditional)[None]
        return Start(latent[None], (self.prompt,), unconditional=unconditional)


@dataclass(frozen=True)
class Originals:
    """What a method may finish a batch of sampled latents with.

    Attributes:
        images: The real image that each was made from, float32 [B, 3, H, W] in [-1, 1].
        draws: Each image's own random numbers.
        classes: The names of all classes.
    """

    images: Tensor
    draws: tuple[Draws, ...]
    classes: tuple[str, ...]

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(self, images=upload(self.images, device))

    def take(self, rows: slice) -> Self:
        """Those of some rows of the batch."""
        return replace(self, images=self.images[rows], draws=self.draws[rows])


@dataclass(frozen=True)
class Method(ABC):
    """A way to make a training image, said as the start it hands to the sampler; its fields are its settings.

    Attributes:
        sources: Images that it builds one start from; None leaves the number to the mixing.
        latents: Which latents of them it needs; None is a method that never looks at an image.
        weighted: Whether it uses the drawn weights; if not, all sources count alike in the record.
        prompt_tells_class: Whether the prompt alone decides which class an image shows.
        across: Whether the sources are images of another class than that of the prompt.
        in_name: Fields that the method's name decides; all others are its settings.
        needs: What the backbone must be able to do.
        finishes: Whether `finish` does more than decode; it then is given the real images.
        label_share: Weight of the prompt's class in the image's label; the rest is the sources' class's.
    """

    sources: ClassVar[int | None] = None
    latents: ClassVar[LatentKind | None] = "inverted"
    weighted: ClassVar[bool] = True
    prompt_tells_class: ClassVar[bool] = False
    across: ClassVar[bool] = False
    in_name: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[Ability, ...]] = ("sample",)
    finishes: ClassVar[bool] = False

    @property
    def label_share(self) -> float:
        """All of it, for images that show one class."""
        return 1.0

    @property
    def decodings(self) -> int:
        """What finishing an image costs, as calls of the decoder; one with gradients counts as three."""
        return 1

    def prompts(self, prompt: str) -> tuple[str, ...]:
        """All prompts that the sampler may be given for images of a class with this prompt."""
        return (prompt,)

    def identities(self) -> dict[str, str]:
        """Settings that name files, each with a hash of what these hold: it decides the images, and the path does not.

        Raises:
            UserError: If the files cannot be had.
        """
        return {}

    def finish(self, latents: Tensor, decode: Decode, originals: Originals) -> Tensor:
        """What the sampler made, clean latents [B, C, h, w], as images [B, 3, H, W] in [-1, 1]."""
        return decode(latents)

    @abstractmethod
    def start(self, material: Material) -> Start:
        """The start of one image (a batch of one)."""


@dataclass(frozen=True)
class Finish:
    """The last step of a batch: its method's, with what that is given."""

    method: Method
    originals: Originals

    def __call__(self, latents: Tensor, decode: Decode) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] from clean latents [B, C, h, w]."""
        return self.method.finish(latents, decode, self.originals)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(self, originals=self.originals.to(device))

    def take(self, rows: slice) -> Self:
        """The last step of some rows of the batch."""
        return replace(self, originals=self.originals.take(rows))
