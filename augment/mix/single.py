"""One image into one, or none into one: reconstruction, noise blended in, SDEdit, and text alone."""

from dataclasses import dataclass
from typing import ClassVar

from jsonargparse.typing import ClosedUnitInterval

from augment.backbones.start import LatentKind, Start
from augment.errors import UserError
from augment.mix.interpolation import blend_noise
from augment.mix.method import Material, Method
from augment.runtime.numbers import PositiveNumber


@dataclass(frozen=True)
class Copy(Method):
    """The inverted image itself: what inversion and sampling alone do to the training set (a control)."""

    sources: ClassVar[int | None] = 1

    def start(self, material: Material) -> Start:
        """The inverted latent as it is."""
        return material.start(material.latents[0])


@dataclass(frozen=True)
class Tint(Method):
    """An inverted latent blended with fresh noise, its norm restored (TINT, Landolsi & Kahl 2024).

    The authors invert by null-text (`--model.inversion.kind null-text`) and use a textual-inversion token.

    Args:
        blend: Share of noise; None draws it uniformly from [0, 1] for each image.
    """

    blend: ClosedUnitInterval | None = None
    sources: ClassVar[int | None] = 1

    def start(self, material: Material) -> Start:
        """The blend of the latent and the image's noise."""
        blend = material.draws.uniform() if self.blend is None else float(self.blend)
        return material.start(blend_noise(material.latents[0], material.noise(), blend))


@dataclass(frozen=True)
class TextToImage(Method):
    """Gaussian noise at t = T and the class's prompt: the "fake it" baseline (Sariyildiz et al. 2023; He et al. 2023).

    The authors use guidance 7.5 and 50 steps; guidance 2 is often better for a classifier.
    """

    sources: ClassVar[int | None] = 0
    latents: ClassVar[LatentKind | None] = None
    prompt_tells_class: ClassVar[bool] = True

    def start(self, material: Material) -> Start:
        """The image's noise."""
        return material.start(material.noise())


@dataclass(frozen=True)
class SDEdit(Method):
    """A clean latent noised to a share of the schedule and denoised (SDEdit, Meng et al. 2022).

    With the class's prompt and no tuning this is Real Guidance (He et al. 2023; strength 0.1 in DiffDA-Eval's
    comparison); with the strengths 0.25, 0.5, 0.75 and 1 it is DA-Fusion (Trabucco et al. 2024) without its learned
    token, which a textual inversion given to the backbone adds.

    Args:
        strength: Share of the schedule that is denoised; 1 starts from noise, small values keep the image. Of several
            one is drawn for each image.
    """

    strength: ClosedUnitInterval | tuple[ClosedUnitInterval, ...] = 0.5
    sources: ClassVar[int | None] = 1
    latents: ClassVar[LatentKind | None] = "encoded"

    def __post_init__(self) -> None:
        strengths = self.strength if isinstance(self.strength, tuple) else (self.strength,)
        if not strengths:
            raise UserError("settings.strength", "an empty list holds no strength", "give a number, or a list of some")
        if 0 in strengths:
            raise UserError("settings.strength", "0 leaves nothing to be denoised", "give more than 0, up to 1")

    def start(self, material: Material) -> Start:
        """The clean latent and the noise to be added; which level they meet at is the schedule's business."""
        strength = self.strength
        if isinstance(strength, tuple):
            strength = strength[material.draws.choose(len(strength))]
        return Start(material.latents, (material.prompt,), float(strength), noise=material.noise()[None])


@dataclass(frozen=True)
class DiffMix(SDEdit):
    """SDEdit from an image of one class i towards the prompt of another class j, with a soft label (Wang et al. 2024).

    Label: (1 - s^gamma) on i and s^gamma on j for strength s. An image is planned for j, the
    class of its prompt, which has most of the label at the authors' settings; i is drawn from the other classes.

    Args:
        strength: Share of the schedule that is denoised; the authors' is 0.7.
        gamma: Exponent of the soft label; the authors' is 0.5.
    """

    strength: ClosedUnitInterval = 0.7
    gamma: PositiveNumber = 0.5
    prompt_tells_class: ClassVar[bool] = True
    across: ClassVar[bool] = True

    @property
    def label_share(self) -> float:
        """s^gamma."""
        return float(self.strength**self.gamma)
