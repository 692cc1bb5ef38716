"""Diffusion backbones: the interface, and one file per family."""
