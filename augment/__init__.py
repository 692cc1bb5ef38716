"""Turn a few images per class into a labelled synthetic dataset with a diffusion model.

What a notebook needs, in the order of the data's way; each is loaded when it is first used, so that importing the
package is quick:

    source = augment.ImageFolder("data/train")                            # PATH/<class>/<image>
    few_shot = augment.choose_few_shot_set(source, shots=5, seed=0)       # the real images that may be used
    model = augment.Synthesizer(augment.StableDiffusion("FOLDER or Hub name"), prompt="a photo of a {class}")
    recipe = augment.make_recipe(model, few_shot, method="nin/chm")       # all that decides an image, frozen
    folder = augment.synthesize(model, source, recipe, "datasets/mine")   # inverts, mixes, denoises, writes shards
    image, label, record = augment.open_dataset(folder)[0]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augment.backbones.flux2_klein import Flux2Klein
    from augment.backbones.instruct_pix2pix import InstructPix2Pix
    from augment.backbones.pixel import PixelDiffusion
    from augment.backbones.prx import PRX
    from augment.backbones.stable_diffusion import StableDiffusion
    from augment.backbones.stable_diffusion_3 import StableDiffusion3
    from augment.backbones.stable_diffusion_xl import StableDiffusionXL
    from augment.backbones.start import Sampler
    from augment.backbones.z_image import ZImage
    from augment.dataset.torch_dataset import open_dataset
    from augment.dataset.verify import verify
    from augment.errors import UserError
    from augment.images.few_shot import FewShotSet, choose_few_shot_set
    from augment.images.sources import Digits, ImageFolder, ImageSource
    from augment.inversion.fill import invert
    from augment.inversion.inversion import Inversion
    from augment.mix.draws import Mixing
    from augment.mix.interpolation import interpolate
    from augment.synthesis.pipeline import synthesize
    from augment.synthesis.plan import Plan
    from augment.synthesis.recipe import Recipe, make_recipe
    from augment.synthesis.synthesizer import Synthesizer

_HOMES = {
    "PRX": "augment.backbones.prx",
    "Digits": "augment.images.sources",
    "FewShotSet": "augment.images.few_shot",
    "Flux2Klein": "augment.backbones.flux2_klein",
    "ImageFolder": "augment.images.sources",
    "ImageSource": "augment.images.sources",
    "InstructPix2Pix": "augment.backbones.instruct_pix2pix",
    "Inversion": "augment.inversion.inversion",
    "Mixing": "augment.mix.draws",
    "PixelDiffusion": "augment.backbones.pixel",
    "Plan": "augment.synthesis.plan",
    "Recipe": "augment.synthesis.recipe",
    "Sampler": "augment.backbones.start",
    "StableDiffusion": "augment.backbones.stable_diffusion",
    "StableDiffusion3": "augment.backbones.stable_diffusion_3",
    "StableDiffusionXL": "augment.backbones.stable_diffusion_xl",
    "Synthesizer": "augment.synthesis.synthesizer",
    "UserError": "augment.errors",
    "ZImage": "augment.backbones.z_image",
    "choose_few_shot_set": "augment.images.few_shot",
    "interpolate": "augment.mix.interpolation",
    "invert": "augment.inversion.fill",
    "make_recipe": "augment.synthesis.recipe",
    "open_dataset": "augment.dataset.torch_dataset",
    "synthesize": "augment.synthesis.pipeline",
    "verify": "augment.dataset.verify",
}
"""Where each name lives; the rooms themselves are imported as usual."""

__all__ = [
    "PRX",
    "Digits",
    "FewShotSet",
    "Flux2Klein",
    "ImageFolder",
    "ImageSource",
    "InstructPix2Pix",
    "Inversion",
    "Mixing",
    "PixelDiffusion",
    "Plan",
    "Recipe",
    "Sampler",
    "StableDiffusion",
    "StableDiffusion3",
    "StableDiffusionXL",
    "Synthesizer",
    "UserError",
    "ZImage",
    "choose_few_shot_set",
    "interpolate",
    "invert",
    "make_recipe",
    "open_dataset",
    "synthesize",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'augment' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
