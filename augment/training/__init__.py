"""What every training of a diffusion model needs, whichever network learns: pictures of progress, checkpoints."""
