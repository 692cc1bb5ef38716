"""What can a family not do? Inversions, samplers and methods that it cannot carry are refused before anything runs."""

from collections.abc import Sequence
from typing import Literal

import torch

from augment.backbones.inversions import InversionKind
from augment.backbones.start import Sampler, SamplerKind
from augment.errors import UserError

Ability = Literal["sample", "edit", "autoencoder"]

MEANING: dict[Ability, str] = {
    "sample": "makes images from noise and a prompt",
    "edit": "edits an image by an instruction",
    "autoencoder": "changes the latents of an autoencoder",
}
"""What a method does with each ability."""

REMEDY: dict[Ability, str] = {"edit": "choose the `backbone` instruct-pix2pix, or another `method`"}


def check_abilities(method: str, needed: Sequence[Ability], family: str, able: Sequence[Ability]) -> None:
    """Refuse a method that the family cannot carry.

    Raises:
        UserError: Saying what the family lacks.
    """
    for ability in needed:
        if ability not in able:
            remedy = REMEDY.get(ability, "choose another `method` or `backbone`")
            raise UserError("method", f"'{method}' {MEANING[ability]}, which {family} cannot do", remedy)


def check_inversion(family: str, known: Sequence[InversionKind], kind: InversionKind) -> None:
    """Refuse an inversion that the family does not support.

    Raises:
        UserError: Naming those that it does.
    """
    if kind not in known:
        raise UserError("inversion.kind", f"{family} cannot do '{kind}'", f"choose from {', '.join(known)}")


def check_sampler(family: str, known: Sequence[SamplerKind], sampler: Sampler) -> None:
    """Refuse a sampler that the family does not support.

    Raises:
        UserError: Naming those that it does.
    """
    if sampler.kind not in known:
        raise UserError("sampler.kind", f"{family} cannot do '{sampler.kind}'", f"choose from {', '.join(known)}")
    if sampler.eta > 0 and (sampler.kind != "first-order" or "dpm++" not in known):
        problem = f"{sampler.eta} needs DDIM (a model that predicts eps or v, and `sampler.kind` first-order)"
        raise UserError("sampler.eta", problem, "leave it at 0")


def check_null_text(dtype: torch.dtype, guidance: float) -> None:
    """Refuse null-text inversion where it cannot work, or prepares for nothing.

    Raises:
        UserError: If the networks are not in float32, or there is no guidance.
    """
    if dtype != torch.float32:
        raise UserError("inversion.precision", "null-text optimises by gradients, which need fp32", "use fp32")
    if guidance == 1:
        raise UserError("inversion.guidance", "null-text prepares for guidance, 1 is without", "give the sampler's")
