"""How good is a pretrained backbone? Its reconstruction errors on images it never saw, as a model card."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from augment.backbones.base import Backbone
from augment.images.pixels import to_tensor
from augment.images.sources import ImageSource, Item
from augment.inversion.inversion import Inversion, round_trip
from augment.pretrain.base import Pretraining
from augment.runtime.foreign_text import code, markdown
from augment.runtime.progress import Meter

CARD = "README.md"
ROUND_TRIP_STEPS = (20, 50, 100)
BATCH = 100
MOST = 100
"""Test images that are measured, evenly spaced over all of them: each takes several hundred network evaluations."""


@dataclass(frozen=True)
class Reconstruction:
    """Mean PSNR in dB and mean squared error (images in [-1, 1]) over a set of images."""

    name: str
    psnr: float
    mse: float


@torch.inference_mode()
def measure(backbone: Backbone, images: Tensor, prompt: str) -> list[Reconstruction]:
    """The autoencoder alone, if there is one; then inversion and denoising with several numbers of steps (guidance 1).

    Args:
        backbone: The model.
        images: [M, 3, H, W] in [-1, 1].
        prompt: For all images.
    """
    parts, rows = torch.split(images, BATCH), []
    with Meter("model card", len(parts) * sum(ROUND_TRIP_STEPS), "steps") as meter:
        for steps in (0, *ROUND_TRIP_STEPS):
            trips = []
            for part in parts:
                how = Inversion(steps=steps) if steps else None
                trips.append(round_trip(backbone, part, (prompt,) * len(part), how))
                meter.advance(steps)
            back = torch.cat([trip.back for trip in trips])
            if not steps and torch.equal(back, images):  # latents that are the pixels themselves
                continue
            name = f"DDIM inversion and back, {steps} steps" if steps else "autoencoder alone"
            quality = torch.tensor([quality.round_trip for trip in trips for quality in trip.quality]).mean()
            rows.append(Reconstruction(name, float(quality), float((back - images).square().mean())))
    return rows


def write_model_card(
    folder: Path, model: Pretraining, source: ImageSource, items: Sequence[Item], command: str
) -> list[Reconstruction]:
    """Measure the model saved in `folder` on the source's images, if there are any, and write its README.md."""
    rows: list[Reconstruction] = []
    chosen = items[:: math.ceil(len(items) / MOST)] if items else ()
    if chosen:
        backbone = model.family(str(folder))
        images = torch.stack([to_tensor(source.image(item), backbone.image_size) for item in chosen])
        rows = measure(backbone, images, model.prompt)
    (folder / CARD).write_text(render(rows, len(chosen), model, command), encoding="utf-8")
    return rows


def render(rows: Sequence[Reconstruction], count: int, model: Pretraining, command: str) -> str:
    """The model card as Markdown."""
    sizes = ", ".join(
        f"{name} {sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters"
        for name, network in model.networks.items()
    )
    prompts = (
        f'every image with the prompt "{markdown(model.prompt)}", some with the empty one'
        if model.prompt
        else "no prompts"
    )
    card = f"""# A small diffusion model

A {model.kind}; {sizes}, fp16 safetensors. Trained without class labels: {prompts}.
Run it with `--model.backbone {model.family.__name__} --model.backbone.model FOLDER`.

Made by {code(command)}.
"""
    if not rows:
        return f"{card}\nNot measured: no test images were given.\n"
    floor = rows[0].mse
    table = "\n".join(f"| {r.name} | {r.psnr:.2f} | {r.mse:.6f} | {r.mse / floor:.3f} |" for r in rows)
    return f"""{card}
Reconstruction of {count} test images that it was not trained on (images in [-1, 1]):

| | PSNR, dB | mean squared error | against the first row |
| --- | ---: | ---: | ---: |
{table}
"""
