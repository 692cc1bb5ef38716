"""Which families does --model.backbone know by their short names? Those that are imported here."""

from augment.backbones import (  # noqa: F401
    flux2_klein,
    instruct_pix2pix,
    pixel,
    prx,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
    z_image,
)
