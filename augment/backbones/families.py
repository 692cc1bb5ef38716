"""Which families of diffusion models are there? What a checkpoint's model_index.json calls them, and who runs them."""

FAMILIES = {
    "StableDiffusionPipeline": "StableDiffusion",
    "StableDiffusionImg2ImgPipeline": "StableDiffusion",
    "StableDiffusionInstructPix2PixPipeline": "InstructPix2Pix",
    "StableDiffusionXLPipeline": "StableDiffusionXL",
    "StableDiffusion3Pipeline": "StableDiffusion3",
    "PRXPipeline": "PRX",
    "Flux2KleinPipeline": "Flux2Klein",
    "ZImagePipeline": "ZImage",
    "DDPMPipeline": "PixelDiffusion",
    "DDIMPipeline": "PixelDiffusion",
}
"""The class that a checkpoint's model_index.json names, and the backbone that runs it."""
