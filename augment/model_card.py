"""How good is a pretrained backbone? Its reconstruction errors on images it never saw, as a model card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from augment.backbones.base import Start
from augment.backbones.stable_diffusion import StableDiffusion
from augment.data import ImageSource, to_tensor
from augment.inversion import psnr

ROUND_TRIP_STEPS = (20, 50, 100)
BATCH = 100


@dataclass(frozen=True)
class Reconstruction:
    """Mean PSNR in dB and mean squared error (images in [-1, 1]) over a set of images."""

    name: str
    psnr: float
    mse: float


@torch.inference_mode()
def measure(backbone: StableDiffusion, images: Tensor, prompt: str) -> list[Reconstruction]:
    """The autoencoder alone, then inversion and denoising with several numbers of steps (guidance 1).

    Args:
        backbone: The model.
        images: [M, 3, H, W] in [-1, 1].
        prompt: For all images.
    """

    def reconstruct(part: Tensor, steps: int | None) -> Tensor:
        latents = backbone.encode(part)
        if steps is not None:
            prompts = (prompt,) * len(part)
            noise = backbone.invert(latents, prompts, steps, guidance=1.0).latent
            latents = backbone.denoise(Start(noise, prompts), steps, guidance=1.0)
        return backbone.decode(latents)

    rows = []
    for steps in (None, *ROUND_TRIP_STEPS):
        back = torch.cat([reconstruct(part, steps) for part in torch.split(images, BATCH)])
        name = "autoencoder alone" if steps is None else f"DDIM inversion and back, {steps} steps"
        quality = torch.tensor(psnr(back, images)).mean()
        rows.append(Reconstruction(name, float(quality), float((back - images).square().mean())))
    return rows


def write_model_card(folder: Path, source: ImageSource, prompt: str, command: str) -> list[Reconstruction]:
    """Measure the model in `folder` on the source's test images and write its README.md."""
    backbone = StableDiffusion(str(folder))
    images = torch.stack([to_tensor(source.image(item), backbone.image_size) for item in source.test])
    rows = measure(backbone, images, prompt)
    (folder / "README.md").write_text(render(rows, len(images), backbone, prompt, command), encoding="utf-8")
    return rows


def render(rows: Sequence[Reconstruction], count: int, backbone: StableDiffusion, prompt: str, command: str) -> str:
    """The model card as Markdown."""
    floor = rows[0].mse
    table = "\n".join(f"| {r.name} | {r.psnr:.2f} | {r.mse:.6f} | {r.mse / floor:.3f} |" for r in rows)
    millions = {
        part: sum(p.numel() for p in network.parameters()) / 1e6
        for part, network in (("U-Net", backbone.unet), ("autoencoder", backbone.vae))
    }
    sizes = ", ".join(f"{part} {count:.2f} M parameters" for part, count in millions.items())
    return f"""# A small latent diffusion model

{backbone.image_size}×{backbone.image_size} RGB images, latents {"×".join(map(str, backbone.latent_shape))}; {sizes}.
Stable Diffusion's folder format, fp16 safetensors, SD 1.5's noise schedule. Trained without class labels: every
image with the prompt "{prompt}", some with the empty one.

Made by `{command}`.

Reconstruction of {count} test images that it was not trained on (images in [-1, 1]):

| | PSNR, dB | mean squared error | against the autoencoder |
| --- | ---: | ---: | ---: |
{table}
"""
