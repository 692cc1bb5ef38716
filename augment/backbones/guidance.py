"""What does the network say under guidance? Both branches in one call, and the prompts that hold at each time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from augment.backbones.start import Condition, Noise, join

Predict = Callable[[Tensor, float, Condition], Tensor]
"""The network's output for z [B, C, h, w] at one time under a condition of B rows."""


def guided(
    predict: Predict, z: Tensor, time: float, condition: Condition, unconditional: Condition | None, guidance: float
) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022); without an unconditional branch, the plain output.

    Args:
        predict: The network.
        z: Latents [B, C, h, w].
        time: Where they stand.
        condition: What the prompts say.
        unconditional: What stands for "no prompt".
        guidance: Weight of the difference between the two; 1 is without guidance.
    """
    if unconditional is None:
        return predict(z, time, condition)
    without, with_prompt = predict(torch.cat([z, z]), time, join([unconditional, condition])).chunk(2)
    return without + guidance * (with_prompt - without)


@dataclass(frozen=True)
class Guide:
    """What leads a batch down the schedule, from its first step to its last.

    Attributes:
        first: The condition of the prompts, down to the time `switch`.
        late: The condition of the prompts from there on.
        switch: A time of the schedule.
        negative: The condition for "no prompt"; None is without guidance.
        embeddings: Embeddings that take the place of those of `negative`, a set for each step [B, steps, S, D]
            (null-text).
        guidance: Weight of the difference between the two branches.
        low: The time below which guidance is left out.
        high: The time above which guidance is left out.
    """

    first: Condition
    late: Condition
    switch: float
    negative: Condition | None
    embeddings: Tensor | None
    guidance: float
    low: float
    high: float

    def output(self, predict: Predict, z: Tensor, time: float, number: int) -> Tensor:
        """The guided output for z [B, C, h, w] at one time, which belongs to the step of this number."""
        negative = self.negative if self.low <= time <= self.high else None
        if negative is not None and self.embeddings is not None:
            negative = replace(negative, embeddings=self.embeddings[:, number].to(negative.embeddings))
        return guided(predict, z, time, self.first if time >= self.switch else self.late, negative, self.guidance)


def optimised(
    predict: Predict, z: Tensor, condition: Condition, empty: Condition, guidance: float, walk: Callable[..., Any]
) -> Noise:
    """Noise by null-text inversion, whose `walk` optimises the embeddings of the empty prompt.

    Args:
        predict: The network.
        z: Clean latents [B, C, h, w].
        condition: What the prompts say.
        empty: What stands for "no prompt"; its embeddings are optimised.
        guidance: Of the way back.
        walk: `inversions.null_text` with its settings.
    """

    def network(z: Tensor, time: float, embeddings: Tensor | None) -> Tensor:
        negative = None if embeddings is None else replace(empty, embeddings=embeddings)
        return guided(predict, z, time, condition, negative, guidance)

    noise, embeddings = walk(network, clean=z, embeddings=empty.embeddings)
    return Noise(noise, torch.zeros(len(z), device=z.device), embeddings)
