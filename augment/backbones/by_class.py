"""Which class's LoRA weights has the network? Those of each row's own, where a tuning was for each class by itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from augment.backbones.start import Condition
from augment.backbones.tuned import Tuned


def name_of(owner: int) -> str:
    """What peft calls the LoRA weights of the class of this number."""
    return f"class{owner}"


def owners_of(tuned: Tuned | None, prompts: Sequence[str]) -> list[int | None]:
    """The class whose own LoRA weights serve each prompt; None where all share them, or there is no prompt.

    Raises:
        UserError: If a prompt names no class, and one must be known.
    """
    return [tuned.owner_of(prompt) if tuned and tuned.owners and prompt else None for prompt in prompts]


def switch(networks: nn.Module, tuned: Tuned | None, owner: int | None) -> None:
    """Let the networks compute with the LoRA weights of one class; None leaves out those of all that have their own."""
    if tuned is None or not tuned.owners:
        return  # weights in training are nobody's own
    for layer in networks.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.enable_adapters(owner is not None)
            if owner is not None:
                layer.set_adapter(name_of(owner), inference_mode=True)


def by_owner(
    predict: Callable[[Tensor, float, Condition], Tensor],
    networks: nn.Module,
    tuned: Tuned | None,
    z: Tensor,
    time: float,
    condition: Condition,
) -> Tensor:
    """The network's output for z [B, C, h, w], each row computed with the LoRA weights of its own class.

    Args:
        predict: The network.
        networks: Those that have the weights of all classes.
        tuned: Says whether there are any.
        z: Latents.
        time: Where they stand.
        condition: Says of each row which class it is for.
    """
    if condition.owner is None:
        switch(networks, tuned, None)
        return predict(z, time, condition)
    output = torch.empty_like(z)
    for owner in sorted(set(condition.owner.tolist())):
        switch(networks, tuned, owner)
        rows = condition.owner == owner
        output[rows] = predict(z[rows], time, replace(condition.take(rows), owner=None))
    return output
