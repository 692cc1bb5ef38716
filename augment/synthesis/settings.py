"""Which model settings decide an image? The backbone's identity, inversion, sampler and prompt, as one frozen value."""

from dataclasses import asdict, dataclass
from typing import Any

from augment.backbones.base import Precision
from augment.backbones.start import Sampler
from augment.images.few_shot import FewShotSet
from augment.inversion.inversion import Inversion
from augment.synthesis.prompts import Prompts


@dataclass(frozen=True)
class ModelSettings:
    """Everything about a synthesizer that decides an image.

    Attributes:
        backbone: Identity of the exact weights.
        resolution: Height and width of the images, in pixels.
        inversion: How the few-shot images are brought into the backbone's noise space.
        steps: Of the sampler.
        guidance: Classifier-free guidance; 1 is without.
        prompts: What the model is told of each image.
        precision: Of the networks while sampling.
        sampler: How steps are made.
        compile: Whether the denoiser is compiled, which changes the last bits.
    """

    backbone: str
    resolution: int
    inversion: Inversion
    steps: int
    guidance: float
    prompts: Prompts
    precision: Precision
    sampler: Sampler
    compile: bool

    def describe(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        described = asdict(self) | {"inversion": self.inversion.describe()} | self.prompts.describe()
        del described["prompts"]
        return described

    def inversion_prompts(self, few_shot: FewShotSet) -> dict[int, str]:
        """What the few-shot images are inverted with: a prompt for every class that has some, by its label."""
        return {label: self.prompts.for_inversion(few_shot.classes[label]) for label in few_shot.labels}
