"""Figure `std`: what if the noise has the wrong norm?"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.backbones.start import Start
from augment.explore.drawing import change, grid_of, save_sheets, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.runtime.numbers import PositiveNumber


@dataclass(frozen=True)
class Std:
    """Images from s·z for noise z and scales s about 1.

    Args:
        scales: Values of s that the noise is multiplied by; each gives a column.
        samples: Number of noise latents; each gives a row.
    """

    scales: tuple[PositiveNumber, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    samples: PositiveInt = 4

    shows: ClassVar[str] = "images from s·z for s from 0.5 to 1.5"
    look_for: ClassVar[str] = (
        "small s washes detail out, as linear mixing does, and large s overdoes it; the model was trained for s = 1"
    )
    origin: ClassVar[str] = "latent-space study, the standard deviation of the latent"

    def draw(self, explorer: Explorer) -> Findings:
        """Write std.png and std.csv."""
        noise = explorer.noise(self.samples)
        latents = torch.stack([s * z for z in noise for s in self.scales])
        prompts = (explorer.model.prompt_for(explorer.source.classes[0]),) * len(latents)
        images = grid_of(explorer.images(Start(latents, prompts), "std"), self.samples)
        save_sheets(
            explorer.folder / "std.png",
            {"images from s·z": images},
            [f"noise {n + 1}" for n in range(self.samples)],
            [f"s = {s:g}" for s in self.scales],
        )
        nearest = min(range(len(self.scales)), key=lambda n: abs(self.scales[n] - 1))
        rows = [
            {
                "s": s,
                "contrast": round(float(images[:, n].std(dim=(1, 2, 3)).mean()), 4),
                "detail": round(detail(images[:, n]), 4),
                "change against s nearest 1": round(change(images[:, n], images[:, nearest]), 4),
            }
            for n, s in enumerate(self.scales)
        ]
        save_table(explorer.folder / "std.csv", rows)
        numbers = {f"s = {row['s']:g}": row for row in rows}
        return Findings(("std.png",), ("std.csv",), numbers)


def detail(images: Tensor) -> float:
    """Mean absolute difference between neighbouring pixels of images [B, 3, H, W]: what blur takes away."""
    across = (images[..., 1:] - images[..., :-1]).abs().mean()
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return float(across + down) / 2
