"""Images to noise: the latent bank and what fills it."""
