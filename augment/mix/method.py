"""What is a method? The material it is given, what it declares of itself, and the start it must make of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from augment.backbones.start import LatentKind, Start
from augment.mix.draws import Draws


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
class Method(ABC):
    """A way to make a training image, said as the start it hands to the sampler; its fields are its settings.

    Attributes:
        sources: Images that it builds one start from; None leaves the number to the mixing.
        latents: Which latents of them it needs; None is a method that never looks at an image.
        weighted: Whether it uses the drawn weights; if not, all sources count alike in the record.
        prompt_tells_class: Whether the prompt alone decides which class an image shows.
        across: Whether the sources are images of another class than that of the prompt.
        in_name: Fields that the method's name decides; all others are its settings.
        label_share: Weight of the prompt's class in the image's label; the rest is the sources' class's.
    """

    sources: ClassVar[int | None] = None
    latents: ClassVar[LatentKind | None] = "inverted"
    weighted: ClassVar[bool] = True
    prompt_tells_class: ClassVar[bool] = False
    across: ClassVar[bool] = False
    in_name: ClassVar[tuple[str, ...]] = ()

    @property
    def label_share(self) -> float:
        """All of it, for images that show one class."""
        return 1.0

    def prompts(self, prompt: str) -> tuple[str, ...]:
        """All prompts that the sampler may be given for images of a class with this prompt."""
        return (prompt,)

    @abstractmethod
    def start(self, material: Material) -> Start:
        """The start of one image (a batch of one)."""
