"""What the backbone must not forget while it is tuned: images of its own (DreamBooth's prior preservation).

Ruiz et al. 2023, Section 3.3: beside the few-shot images the network is trained on samples of the untuned network.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from augment.backbones.latent import LatentBackbone
from augment.backbones.start import Start
from augment.tuning.lora import untuned

STEPS = 50
GUIDANCE = 7.5
BATCH = 8


class PriorImages:
    """Clean latents that the untuned backbone makes of each class's name.

    Args:
        count: Latents per class.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.latents = torch.empty(0)
        self.prompts: list[str] = []

    @torch.no_grad()
    def make(self, backbone: LatentBackbone, prompts: Sequence[str]) -> None:
        """Sample them, each from noise of its own; a resumed run makes the same ones again.

        Args:
            backbone: With the LoRA weights switched off while this lasts.
            prompts: One for each class.
        """
        if not self.count:
            return
        self.prompts = [prompt for prompt in prompts for _ in range(self.count)]
        noise = torch.randn(len(self.prompts), *backbone.latent_shape, generator=torch.Generator().manual_seed(1))
        with untuned(backbone):
            parts = [
                backbone.denoise(Start(part, tuple(self.prompts[first : first + BATCH])), STEPS, GUIDANCE).cpu()
                for first, part in zip(range(0, len(noise), BATCH), torch.split(noise, BATCH), strict=True)
            ]
        self.latents = torch.cat(parts)  # [M, C, h, w]

    def pick(self, count: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        """Some of them at random [B, C, h, w], and their prompts."""
        chosen = torch.randint(0, len(self.latents), (count,), generator=generator)
        return self.latents[chosen], [self.prompts[place] for place in chosen.tolist()]
