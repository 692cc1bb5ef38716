"""Figure `offset`: how sensitive is the denoiser to unexpected statistics of its input?"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.backbones.start import Start
from augment.errors import UserError
from augment.explore.drawing import change, save_sheets, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.runtime.numbers import NonNegativeNumber

PARTS = ("change of the top quarter", "change of the rest")


@dataclass(frozen=True)
class Offset:
    """Channel 0 lowered and channel 1 raised by b in the top quarter of a noise latent, at t = T and at t = 0.

    Args:
        offsets: Values of b to add; each gives a column.
        samples: Number of noise latents; each gives two rows.
    """

    offsets: tuple[NonNegativeNumber, ...] = (0.0, 0.1, 0.2, 0.4, 0.8)
    samples: PositiveInt = 3

    shows: ClassVar[str] = "∓b added to two channels in the top quarter of the latent, at t = T and at t = 0"
    look_for: ClassVar[str] = (
        "at t = 0 only the top quarter of the image changes, and hardly; the same offset at t = T changes all of it"
    )
    origin: ClassVar[str] = "Landolsi & Kahl, Fig. 6"

    def draw(self, explorer: Explorer) -> Findings:
        """Write offset.png and offset.csv."""
        if explorer.backbone.latent_shape[0] < 2:
            raise UserError(
                "offset", "needs latents of two channels or more, this backbone has one", "use another backbone"
            )
        noise = explorer.noise(self.samples)
        prompts = (explorer.model.prompt_for(explorer.source.classes[0]),) * self.samples
        before = torch.cat([offset_top(noise, b) for b in (0.0, *self.offsets)])
        clean = explorer.denoise(Start(before, prompts * (1 + len(self.offsets))), "offset")
        reference = clean[: self.samples]
        images = explorer.decode(torch.cat([clean, *(offset_top(reference, b) for b in self.offsets)]))
        untouched, *shifted = torch.split(images, self.samples)  # each [samples, 3, H, W]
        at = {"t = T": shifted[: len(self.offsets)], "t = 0": shifted[len(self.offsets) :]}
        block = torch.stack(  # [2 * samples, offsets, 3, H, W]
            [torch.stack([part[n] for part in parts]) for n in range(self.samples) for parts in at.values()]
        )
        labels = [f"noise {n + 1}, {when}" for n in range(self.samples) for when in at]
        save_sheets(
            explorer.folder / "offset.png",
            {"offset of two channels in the top quarter": block},
            labels,
            [f"b = {b:g}" for b in self.offsets],
        )
        top = images.shape[-2] // 4
        rows = [
            {
                "when": when,
                "b": b,
                PARTS[0]: round(change(part[..., :top, :], untouched[..., :top, :]), 4),
                PARTS[1]: round(change(part[..., top:, :], untouched[..., top:, :]), 4),
            }
            for when, parts in at.items()
            for b, part in zip(self.offsets, parts, strict=True)
        ]
        save_table(explorer.folder / "offset.csv", rows)
        numbers = {f"{row['when']}, b = {row['b']:g}": {k: v for k, v in row.items() if k in PARTS} for row in rows}
        return Findings(("offset.png",), ("offset.csv",), numbers)


def offset_top(latents: Tensor, b: float) -> Tensor:
    """Latents [B, C, h, w] with -b on channel 0 and +b on channel 1 in the top quarter of their rows.

    The mean over all channels stays what it was (Landolsi & Kahl, Section 4.4).
    """
    moved = latents.clone()
    rows = max(1, latents.shape[-2] // 4)
    moved[:, 0, :rows] -= b
    moved[:, 1, :rows] += b
    return moved
