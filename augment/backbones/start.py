"""What goes into a sampler and what comes out of an inversion: starts, conditions, settings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, Self

import torch
from jsonargparse.typing import ClosedUnitInterval
from torch import Tensor

from augment.errors import UserError

SamplerKind = Literal["first-order", "midpoint", "dpm++"]

KEPT_PROMPTS = 1024
"""So many prompts are encoded before anything else, so that the text encoders' memory is free; embeddings take some."""

LatentKind = Literal["inverted", "encoded"]
"""Noise z_T to which an image was inverted, or the clean latent z_0 that the autoencoder makes of it."""


@dataclass(frozen=True)
class Start:
    """What a method hands to the sampler: latents, the point of the schedule they stand at, and prompts.

    Attributes:
        latent: Float32 [B, C, h, w].
        prompts: One prompt per latent.
        strength: Share of the schedule still to be denoised; 1 means t = T. One for all, or one per latent.
        noise: To be added to `latent`, then a clean one, at the level where denoising begins (SDEdit); like `latent`.
        unconditional: Embeddings that stand for "no prompt" at each step, float32 [B, steps, S, D] (null-text).
        negative: One prompt per latent that stands for "no prompt" (negative-prompt inversion).
        seeds: One per latent; decide the fresh noise of a sampler with eta > 0, and nothing else.
        late_prompts: One per latent, that takes the place of its first prompt after the switch (Diff-II).
        switch: Share of the schedule, t / T from 1 down, that the first prompts guide.
        image: Clean latents of the images that the prompts say how to edit, like `latent` (InstructPix2Pix).
        image_guidance: How closely the edit keeps to them; 1 adds nothing, and there is none without guidance.
    """

    latent: Tensor
    prompts: tuple[str, ...]
    strength: float | tuple[float, ...] = 1.0
    unconditional: Tensor | None = None
    negative: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    noise: Tensor | None = None
    late_prompts: tuple[str, ...] | None = None
    switch: float = 1.0
    image: Tensor | None = None
    image_guidance: float = 1.0

    def to(self, device: torch.device) -> Self:
        """The same start on another device."""
        parts: dict[str, Any] = {
            name: upload(value, device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **parts)

    def take(self, rows: slice | list[int]) -> Self:
        """Some rows of the batch."""
        places = range(len(self.latent))[rows] if isinstance(rows, slice) else rows
        parts: dict[str, Any] = {
            name: value[rows] if isinstance(value, Tensor) else tuple(value[place] for place in places)
            for name, value in vars(self).items()
            if isinstance(value, Tensor | tuple)
        }
        return replace(self, **parts)


def by_strength(start: Start, strengths: Sequence[float]) -> Iterator[tuple[list[int], Start]]:
    """The rows of the batch that stand at one point of the schedule, and these rows as a batch of their own."""
    for strength in sorted(set(strengths)):
        rows = [row for row, own in enumerate(strengths) if own == strength]
        yield rows, replace(start.take(rows), strength=strength)


def steps_left(steps: int, strength: float) -> int:
    """Steps of the schedule that a share of it leaves to be made: truncated as diffusers does, at least one."""
    return max(1, int(steps * strength))


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device; from pinned memory, so that the program need not wait for the device's earlier work."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def stack(starts: Sequence[Start]) -> Start:
    """One batch of single starts."""

    def rows(parts: Sequence[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        return torch.cat(given) if given else None

    def words(parts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
        return tuple(chain.from_iterable(part for part in parts if part is not None)) or None

    strengths = tuple(start.strength for start in starts if not isinstance(start.strength, tuple))
    return Start(
        torch.cat([start.latent for start in starts]),
        tuple(prompt for start in starts for prompt in start.prompts),
        strengths[0] if len(set(strengths)) == 1 else strengths,
        rows([start.unconditional for start in starts]),
        words([start.negative for start in starts]),
        tuple(seed for start in starts for seed in start.seeds or ()) or None,
        rows([start.noise for start in starts]),
        words([start.late_prompts for start in starts]),
        starts[0].switch,
        rows([start.image for start in starts]),
        starts[0].image_guidance,
    )


@dataclass(frozen=True)
class Sampler:
    """How noise is turned into images, beside steps and guidance.

    Args:
        kind: How a step is made: `first-order` is DDIM, or Euler for flow models; `midpoint` (flow models) asks the
            network twice a step; `dpm++` (models that predict eps or v) is DPM-Solver++ 2M, good with 20 to 30 steps.
        eta: Share of fresh noise in DDIM's steps: 0 is deterministic, 1 is DDPM.
        guidance_interval: Guidance acts while t / T lies between these two numbers, and is left out elsewhere.
    """

    kind: SamplerKind = "first-order"
    eta: ClosedUnitInterval = 0.0
    guidance_interval: tuple[ClosedUnitInterval, ClosedUnitInterval] = (0.0, 1.0)

    def __post_init__(self) -> None:
        low, high = self.guidance_interval
        if low > high:
            raise UserError(
                "sampler.guidance_interval", f"[{low:g}, {high:g}] falls, so guidance never acts", "give it rising"
            )


@dataclass(frozen=True)
class Condition:
    """What tells a network which image is wanted, one row per image.

    Attributes:
        embeddings: Embeddings of the prompts [B, S, D]; the class index [B] where a model knows classes and no text.
        pooled: Embeddings of the prompts as a whole [B, P], where the family uses it.
        mask: Which of the S embeddings belong to the prompt, bool [B, S], where the family uses it.
        owner: The number of the class whose own LoRA weights the network has for this row, int64 [B], where it was
            tuned for each class by itself.
        image: Clean latents of the images to be edited [B, C, h, w], where the family edits.
    """

    embeddings: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None
    owner: Tensor | None = None
    image: Tensor | None = None

    def to(self, device: torch.device) -> Self:
        """The same condition on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def take(self, rows: Tensor) -> Self:
        """Some rows of it, by a mask [B]."""
        return self._each(lambda tensor: tensor[rows])

    def clone(self) -> Self:
        """A copy that shares no memory; made outside of inference mode, it can be differentiated through."""
        return self._each(torch.clone)

    def _each(self, function: Callable[[Tensor], Tensor]) -> Self:
        given = {name: part for name, part in vars(self).items() if part is not None}
        return replace(self, **{name: function(part) for name, part in given.items()})


def join(conditions: Sequence[Condition]) -> Condition:
    """The rows of all conditions, one below the other."""
    given = [name for name, part in vars(conditions[0]).items() if part is not None]
    return Condition(**{name: torch.cat([getattr(one, name) for one in conditions]) for name in given})


@dataclass(frozen=True)
class Noise:
    """Noise from which the sampler leads back to an image.

    Attributes:
        latent: z_T, float32 [B, C, h, w].
        unconditional: Embeddings that stand for "no prompt" at each step, float32 [B, steps, S, D] (null-text).
        residual: Per image [B], how far the worst step is from being solved (fixed-point); 0 where it is not measured.
    """

    latent: Tensor
    residual: Tensor
    unconditional: Tensor | None = None
