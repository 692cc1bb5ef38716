"""GIF: a sampled latent, moved one step to where CLIP finds it more informative (Zhang et al., NeurIPS 2023).

Shapes: B images of K classes, G perturbations of each, D numbers of CLIP's vectors; latents z [B, C, h, w]. What is
moved are two numbers a channel, its scale a and its shift b: z (1 + a) + b.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from augment.backbones.abilities import Ability
from augment.mix.clip import locate_clip, read_clip
from augment.mix.method import Decode, Originals
from augment.mix.single import SDEdit
from augment.runtime.numbers import PositiveNumber

CLASS_TEXT = "This is a photo of a {}"
"""The authors' words for a class."""

SHARPNESS = 100.0
"""Of CLIP's class probabilities: the authors multiply its cosines by this, as CLIP has learned to."""


@dataclass(frozen=True)
class GuidedImagination(SDEdit):
    """SDEdit, then one step of sign gradient on the channels of its latent, in a ball around it (GIF-SD).

    The step raises three things in CLIP's space: the probability of the class that CLIP sees in the real image, the
    entropy of all classes, and the diversity of several perturbations. The authors measure diversity among the images
    that one call makes of a real one. Here an image never depends on others, so that each has siblings of its own:
    the same latent under other draws of a and b, which are looked at and thrown away.

    Args:
        strength: Share of the schedule that is denoised; 0.1 is DiffDA-Eval's for some datasets, 0.9 for others.
        step: Size of the step in each number; the authors' is 0.1.
        radius: How far any number of the latent may move; 0.8 is DiffDA-Eval's for most datasets.
        group: Perturbations among which diversity is measured; the authors' is 5, and 1 leaves diversity out.
        clip: The CLIP model, both towers: a Hub name, or a folder that transformers saved. The authors' code takes
            OpenAI's ViT-B/32 or ViT-L/14.
    """

    strength: ClosedUnitInterval | tuple[ClosedUnitInterval, ...] = 0.1
    step: PositiveNumber = 0.1
    radius: PositiveNumber = 0.8
    group: PositiveInt = 5
    clip: str = "openai/clip-vit-large-patch14"
    needs: ClassVar[tuple[Ability, ...]] = ("sample", "autoencoder")
    finishes: ClassVar[bool] = True

    @property
    def decodings(self) -> int:
        """One for each sibling, the one with gradients, and the last."""
        return self.group - 1 + 3 + 1

    def identities(self) -> dict[str, str]:
        """CLIP's weights."""
        return {"clip": locate_clip(self.clip)[1]}

    def finish(self, latents: Tensor, decode: Decode, originals: Originals) -> Tensor:
        """Move the latents, and decode them."""
        with torch.inference_mode(False), torch.no_grad():
            clip = read_clip(self.clip).to(latents.device)
            z, images = latents.clone(), originals.images.clone()  # those of inference mode take no part in gradients
            texts = clip.texts([CLASS_TEXT.format(name) for name in originals.classes])  # [K, D]
            seen = class_logits(clip.images(images), texts).argmax(1)  # [B]
            drawn = [draws.perturbations(self.group, z.shape[1]) for draws in originals.draws]
            scales, shifts = (torch.stack(part).to(z) for part in zip(*drawn, strict=True))  # [B, G, C, 1, 1]
            others = [clip.images(decode(perturbed(z, scales[:, n], shifts[:, n]))) for n in range(1, self.group)]
            with torch.enable_grad():
                scale, shift = scales[:, 0].clone().requires_grad_(), shifts[:, 0].clone().requires_grad_()
                own = clip.images(decode(perturbed(z, scale, shift)))  # [B, D]
                total = informativeness(class_logits(own, texts), seen)
                if others:
                    total = total + diversity(torch.stack([own, *others], 1))
                slopes = torch.autograd.grad(total.sum(), (scale, shift))
            up, aside = (self.step * slope.sign() for slope in slopes)
            return decode(within_ball(perturbed(z, scale + up, shift + aside), z, self.radius))


def class_logits(features: Tensor, texts: Tensor) -> Tensor:
    """Logits [B, K] of classes by their texts [K, D], for images [B, D]."""
    return SHARPNESS * features @ texts.T


def perturbed(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Latents z [B, C, h, w] with each channel scaled and shifted by numbers [B, C, 1, 1]: z (1 + a) + b."""
    return z * (1 + scale) + shift


def within_ball(moved: Tensor, z: Tensor, radius: float) -> Tensor:
    """The point nearest to `moved` that is nowhere farther than `radius` from z: projection to an l-infinity ball."""
    return torch.clamp(moved, z - radius, z + radius)


def informativeness(logits: Tensor, seen: Tensor) -> Tensor:
    """Probability of the class [B] seen in the real image, plus entropy of all classes, from logits [B, K]: [B].

    The authors subtract the entropy of the real image, which no step changes.
    """
    logs = logits.log_softmax(1)
    kept = logs.exp().gather(1, seen[:, None])[:, 0]
    return kept - (logs.exp() * logs).sum(1)


def diversity(features: Tensor) -> Tensor:
    """KL divergence of each of G vectors from their mean, both through a softmax, summed: [B] from [B, G, D].

    The sum, where the authors take means over the G for all three terms: the sign of the slope is the same.
    """
    each, mean = features.log_softmax(2), features.mean(1, keepdim=True).log_softmax(2)
    return F.kl_div(each, mean.expand_as(each), reduction="none", log_target=True).sum((1, 2))
