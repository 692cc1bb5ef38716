"""Which model settings decide an image? The backbone's identity, inversion, sampler and prompt, as one frozen value."""

from dataclasses import asdict, dataclass
from typing import Any

from augment.backbones.base import Precision
from augment.backbones.start import Sampler
from augment.backbones.tuned import fill_in
from augment.images.few_shot import FewShotSet
from augment.inversion.inversion import Inversion


@dataclass(frozen=True)
class ModelSettings:
    """Everything about a synthesizer that decides an image.

    Attributes:
        backbone: Identity of the exact weights.
        resolution: Height and width of the images, in pixels.
        inversion: How the few-shot images are brought into the backbone's noise space.
        steps: Of the sampler.
        guidance: Classifier-free guidance; 1 is without.
        prompt: `{class}` stands for the class's name, `{token}` for the new word of a tuned backbone.
        precision: Of the networks while sampling.
        sampler: How steps are made.
        compile: Whether the denoiser is compiled, which changes the last bits.
    """

    backbone: str
    resolution: int
    inversion: Inversion
    steps: int
    guidance: float
    prompt: str
    precision: Precision
    sampler: Sampler
    compile: bool

    def describe(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        return asdict(self) | {"inversion": self.inversion.describe()}

    def prompt_for(self, class_name: str) -> str:
        """The prompt of a class."""
        return fill_in(self.prompt, class_name)

    def prompts(self, few_shot: FewShotSet) -> dict[int, str]:
        """The prompt of every class that has images in the few-shot set, by its label."""
        return {label: self.prompt_for(few_shot.classes[label]) for label in few_shot.labels}
