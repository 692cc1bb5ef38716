"""Is the backbone good enough to rank anything? Its noise samples and reconstructions beside two halves of real images.

If plain samples lie far from the real images, or nobody can tell the class of a synthetic image, then a comparison of
ways to mix latents says little about them, whatever its intervals.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from augment.backbones.start import Start
from augment.errors import UserError
from augment.images.pixels import to_tensor, to_uint8
from augment.images.sources import ImageSource, Item
from augment.inversion.inversion import round_trip
from augment.measure.extractor import Extractor
from augment.measure.features import image_features
from augment.measure.metrics import frechet_distance, frechet_name, recognised
from augment.measure.seen_in_training import seen_by_backbone, seen_by_extractor
from augment.synthesis.synthesizer import Synthesizer

FAR = 10.0
"""Noise samples further away than this many times the distance of two real halves count as too far."""
UNSEEN = 0.5
"""Images whose class is recognised less than this many times as often as that of real ones count as unrecognisable."""
FEW = 50
"""Images on each side below which a distance is mostly its own bias."""
MOST = 500
"""Images on each side of a distance, at most."""
BATCH = 50


@dataclass(frozen=True)
class Adequacy:
    """How good the backbone is, by one extractor; every distance is to the same half of the real images.

    Attributes:
        extractor: Its name.
        count: Images on each side of a distance.
        features: Numbers per image. With fewer images than these the distances are mostly bias, alike for all of them.
        halves: Distance of the other half of the real images.
        reconstructions: Distance of that half after the autoencoder.
        noise: Distance of images sampled from Gaussian noise, with the same classes' prompts.
        real_recognised: Share of the other half whose class has the nearest mean in the extractor's features.
        reconstructions_recognised: The same after the autoencoder.
        extractor_saw: Of the images in both halves, those that the extractor was trained on; None if that is unknown.
        backbone_saw: The same of the backbone.
    """

    extractor: str
    count: int
    features: int
    halves: float
    reconstructions: float
    noise: float
    real_recognised: float
    reconstructions_recognised: float
    extractor_saw: int | None = None
    backbone_saw: int | None = None

    @property
    def recognition(self) -> str:
        """Name of the share of recognised images among a synthetic set's metrics."""
        return f"recognised_{self.extractor}"

    def verdict(self, synthetic: Mapping[str, float]) -> str:
        """Whether samples lie near the real images and the best row's classes are recognised, if that can be told.

        Args:
            synthetic: Share of the synthetic images whose class is recognised, by row.
        """
        best = max(synthetic.values(), default=self.reconstructions_recognised)
        if self.noise > FAR * self.halves or best < UNSEEN * self.real_recognised:
            return "The backbone is NOT good enough to rank methods: this study tests the machinery, not the methods."
        needed = max(FEW, self.features + 1)
        if self.count < needed:
            return (
                f"Whether the backbone is good enough to rank methods cannot be told: two halves of {self.count} real "
                f"images are too few for {self.features} features, {needed} each would do."
            )
        return "The backbone is good enough to compare methods on."

    def sentence(self, synthetic: Mapping[str, float]) -> str:
        """The verdict, with the figures that it rests on.

        Args:
            synthetic: Share of the synthetic images whose class is recognised, by row.
        """
        made = ""
        if synthetic:
            low, high = (choose(synthetic, key=lambda row: synthetic[row]) for choose in (min, max))
            made = f", and of {share(synthetic[low])} ({low}) to {share(synthetic[high])} ({high}) of synthetic images"
            if share(synthetic[low]) == share(synthetic[high]):
                made = f", and of {share(synthetic[low])} of synthetic images"
        return (
            f"{self.verdict(synthetic)} {frechet_name(self.extractor)} to one half of the real images: the other half "
            f"{self.halves:.3g}, the autoencoder's reconstructions of it {self.reconstructions:.3g}, plain noise "
            f"samples {self.noise:.3g} ({self.count} images each; more than {FAR:g} times the other half's counts as "
            f"too far). The extractor recognises the class of {share(self.real_recognised)} of real images, of "
            f"{share(self.reconstructions_recognised)} of reconstructions{made}."
        )

    @property
    def judges(self) -> str:
        """Which images the verdict rests on, who had seen them before, and what that does to it."""
        text = f"These {2 * self.count} real images are from the few-shot pool; no test image is among them. "
        if self.extractor_saw == self.backbone_saw == 0:
            return text + "Neither the extractor nor the backbone was trained on any of them."
        return text + (
            _exposure("extractor", self.extractor_saw, "real images look easier than new ones", "hard")
            + " "
            + _exposure("backbone", self.backbone_saw, "its samples may be copies of them", "kind")
        )


def _exposure(model: str, seen: int | None, effect: str, bias: str) -> str:
    if seen == 0:
        return f"The {model} was trained on none of them."
    if seen is None:
        return (
            f"It is not known whether the {model} was trained on them: if so, {effect}, and the verdict is too {bias}."
        )
    return f"The {model} was trained on {seen} of them: {effect}, and the verdict may be too {bias}."


def share(value: float) -> str:
    """A share in whole per cent."""
    return f"{100 * value:.0f} %"


def measure_adequacy(
    synthesizer: Synthesizer, source: ImageSource, extractor: Extractor, skip_bad: bool = False
) -> Adequacy:
    """Measure the backbone against two random halves of the real images.

    Args:
        synthesizer: Backbone and sampler.
        source: Its pool gives the real images.
        extractor: What computes the features.
        skip_bad: Pass over images that cannot be read.

    Raises:
        UserError: If there are fewer than four real images.
    """
    seen = seen_by_extractor(extractor.given), seen_by_backbone(synthesizer.backbone)
    judges = halves(unseen(source, *seen))
    first, second = (read(source, items, skip_bad) for items in judges)
    if min(len(first), len(second)) < 2:
        raise UserError(
            "source",
            f"a pool of {len(source.pool)} images cannot be halved to judge the backbone by",
            "give four or more",
        )
    images, names = zip(*second, strict=True)
    synthesizer.backbone.to(extractor.device).cast(synthesizer.precision)
    with torch.inference_mode():
        rebuilt = list(reconstruct(synthesizer, images))
        noise = list(sample_noise(synthesizer, [synthesizer.prompt_for(name) for name in names]))
    real, *others = (
        image_features(extractor, samples)
        for samples in (first, second, zip(rebuilt, names, strict=True), zip(noise, names, strict=True))
    )
    between, after, sampled = (frechet_distance(real.values, other.values) for other in others)
    shown, rebuilt_shown = (recognised(real, other) for other in others[:2])  # a noise sample's class is the model's
    hashes = {source.sha256(item) for half in judges for item in half}
    by_extractor, by_backbone = (None if known is None else len(hashes & known) for known in seen)
    size = real.values.shape[1]
    return Adequacy(
        extractor.name,
        len(images),
        size,
        between,
        after,
        sampled,
        shown,
        rebuilt_shown,
        by_extractor,
        by_backbone,
    )


def unseen(source: ImageSource, extractor: Set[str] | None, backbone: Set[str] | None) -> list[Item]:
    """The images of a pool that judge: those that nobody was trained on, if they are enough to be halved.

    Else those that the extractor was not trained on, and else all: what it was trained on it tells apart too well.

    Args:
        source: Its pool is asked.
        extractor: Hashes of the images that the extractor was trained on, as far as they are known.
        backbone: The same of the backbone.
    """
    by_extractor, by_backbone = extractor or set(), backbone or set()
    for known in (by_extractor | by_backbone, by_extractor):
        left = [item for item in source.pool if not known or source.sha256(item) not in known]
        if len(left) >= 2 * FEW:
            return left
    return list(source.pool)


def halves(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Two random halves of equal size, at most MOST images each."""
    order = np.random.default_rng(0).permutation(len(items))
    size = min(len(items) // 2, MOST)
    return [items[n] for n in order[:size]], [items[n] for n in order[size : 2 * size]]


def read(source: ImageSource, items: Sequence[Item], skip_bad: bool) -> list[tuple[Image.Image, str]]:
    """The images that can be read, with the names of their classes."""
    return [(image, source.classes[item.label]) for item in items for image in source.readable([item], skip_bad)]


def reconstruct(synthesizer: Synthesizer, images: Sequence[Image.Image]) -> Iterator[Image.Image]:
    """The images after the autoencoder alone."""
    backbone = synthesizer.backbone
    for start in range(0, len(images), BATCH):
        pixels = torch.stack([to_tensor(image, backbone.image_size) for image in images[start : start + BATCH]])
        yield from as_images(round_trip(backbone, pixels.to(backbone.device)).alone)


def sample_noise(synthesizer: Synthesizer, prompts: Sequence[str]) -> Iterator[Image.Image]:
    """One image per prompt from z_T ~ N(0, I), by the study's sampler."""
    backbone = synthesizer.backbone
    generator = torch.Generator().manual_seed(0)
    for start in range(0, len(prompts), BATCH):
        part = tuple(prompts[start : start + BATCH])
        latents = torch.randn(len(part), *backbone.latent_shape, generator=generator)
        noise = Start(latents, part, seeds=tuple(range(start, start + len(part))))
        clean = backbone.denoise(noise, synthesizer.steps, synthesizer.guidance, synthesizer.sampler)
        yield from as_images(backbone.decode(clean))


def as_images(pixels: Tensor) -> list[Image.Image]:
    """Images [B, 3, H, W] in [-1, 1] as a file would hold them."""
    return [to_pil_image(image) for image in to_uint8(pixels.nan_to_num(-1)).cpu()]
