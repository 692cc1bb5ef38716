"""DiffuseMix: half of the real image, half of its edit, and a fractal over both (Islam et al., CVPR 2024)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jsonargparse.typing import ClosedUnitInterval
from torch import Tensor

from augment.backbones.abilities import Ability
from augment.backbones.start import LatentKind, Start
from augment.errors import UserError
from augment.mix.fractal import folder_identity, fractal, from_folder
from augment.mix.method import Decode, Material, Method, Originals
from augment.runtime.numbers import PositiveNumber

STYLES = (
    "autumn", "snowy", "watercolor art", "sunset", "rainbow", "aurora", "mosaic", "ukiyo-e", "a sketch with crayon",
)  # fmt: skip
INSTRUCTIONS = tuple(f"A transformed version of image into {style}" for style in STYLES)
"""The paper's instruction with each of the authors' nine styles."""

SEAM = 20 / 512
"""Share of the side on which one half fades into the other; the authors' is 20 pixels of 512."""


@dataclass(frozen=True)
class DiffuseMix(Method):
    """An edit of the real image by an instruction, put beside the real image and under a fractal.

    The first half, the upper or the left one at random, is the real image's, as in the authors' code. The authors use
    guidance 4 and 100 steps of a stochastic sampler, as the preset `instruct-pix2pix` does; the backbone's own prompt
    plays no part.

    Args:
        instructions: What the backbone may be told, without the class's name; one is drawn for each image.
        image_guidance: How closely the edit keeps to the real image; the authors' is 1.5, diffusers' default.
        blend: Share of the fractal; the authors' is 0.2.
        fractals: Folder of images to take the fractals from; by default one is drawn for each image. The authors
            take theirs from a collection that users of their code have to find themselves.
    """

    instructions: tuple[str, ...] = INSTRUCTIONS
    image_guidance: PositiveNumber = 1.5
    blend: ClosedUnitInterval = 0.2
    fractals: str | None = None
    sources: ClassVar[int | None] = 1
    latents: ClassVar[LatentKind | None] = "encoded"
    needs: ClassVar[tuple[Ability, ...]] = ("edit",)
    finishes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.instructions:
            raise UserError("settings.instructions", "an empty list tells the backbone nothing", "give some")

    def prompts(self, prompt: str) -> tuple[str, ...]:
        """All instructions; the class's own prompt is not used."""
        return self.instructions

    def identities(self) -> dict[str, str]:
        """The images of the folder, if there is one."""
        return {} if self.fractals is None else {"fractals": folder_identity(self.fractals)}

    def start(self, material: Material) -> Start:
        """Noise, an instruction, and the image that it is about."""
        instruction = self.instructions[material.draws.choose(len(self.instructions))]
        noise = material.noise()[None]
        return Start(noise, (instruction,), image=material.latents, image_guidance=float(self.image_guidance))

    def finish(self, latents: Tensor, decode: Decode, originals: Originals) -> Tensor:
        """Join the halves, and lay the fractals over them."""
        edited = decode(latents)
        sideways = torch.tensor([draws.uniform() < 0.5 for draws in originals.draws], device=edited.device)
        joined = halves(originals.images.to(edited), edited, sideways)
        side = edited.shape[-1]
        patterns = [
            fractal(draws.pattern(), side)
            if self.fractals is None
            else from_folder(draws.pattern(), self.fractals, side)
            for draws in originals.draws
        ]
        return torch.lerp(joined, torch.stack(patterns).to(edited), float(self.blend))


def halves(first: Tensor, second: Tensor, sideways: Tensor) -> Tensor:
    """Images whose first half is of one batch and whose second half is of another, with a soft seam.

    Args:
        first: Images [B, 3, side, side]; their left or upper halves are taken.
        second: Likewise, for the right or lower halves.
        sideways: Which are joined left and right, bool [B]; the others above and below.
    """
    side = first.shape[-1]
    seam = max(2, round(SEAM * side))
    places = torch.arange(side, device=first.device)
    share = ((places - (side // 2 - seam // 2)) / (seam - 1)).clamp(0, 1).to(first)  # of the second, along the axis
    mask = torch.where(sideways[:, None, None, None], share, share[:, None])  # [B, 1, side, side]
    return torch.lerp(first, second, mask)
