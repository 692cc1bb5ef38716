"""Turn a few images per class into a labelled synthetic dataset with a diffusion model.

The public face is `augment.synthesize.pipeline`: `invert` fills the latent bank, `synthesize` writes the shards.
"""
