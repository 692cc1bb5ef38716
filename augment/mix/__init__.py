"""Latents to starts: interpolation, draws, and the methods."""
