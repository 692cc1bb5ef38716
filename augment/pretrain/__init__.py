"""Training a diffusion model from nothing on a folder of images: in an autoencoder's latents, or on the pixels."""

from augment.images.sources import UnlabelledFolder
from augment.pretrain.data import PretrainData
from augment.pretrain.latent import LatentDiffusion
from augment.pretrain.pixel import DDPM

__all__ = ["DDPM", "LatentDiffusion", "PretrainData", "UnlabelledFolder"]
