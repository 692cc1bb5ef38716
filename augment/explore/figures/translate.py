"""Figure `translate`: does a shift of the noise shift the image?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.backbones.start import Start
from augment.explore.drawing import grid_of, rms, save_sheets, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.explore.figures.bias import fit_line
from augment.mix.interpolation import translate


@dataclass(frozen=True)
class Translate:
    """A window sliding over two latents side by side, and its variant that exchanges one slice and moves nothing.

    Args:
        columns: The most positions of the window on its way from the first latent to the second.
        samples: Number of pairs of latents; each gives two rows.
    """

    columns: PositiveInt = 9
    samples: PositiveInt = 3

    shows: ClassVar[str] = "a window sliding over two concatenated latents, and the exchange of one slice alone"
    look_for: ClassVar[str] = (
        "whether the object moves to the left with the noise under the window, while its style drifts; the slice moves "
        "nothing and turns one image into the other from the left"
    )
    origin: ClassVar[str] = "latent-space study, the translation operator T and the slice operator C"

    def draw(self, explorer: Explorer) -> Findings:
        """Write translate.png and translate.csv."""
        width = explorer.backbone.latent_shape[-1]
        shifts = sorted({round(t) for t in torch.linspace(0, width, self.columns).tolist()})
        p, q = explorer.noise(2 * self.samples).chunk(2)
        lines = [
            [operator(p[n], q[n], t) for t in shifts]
            for n in range(self.samples)
            for operator in (translate, exchange_slice)
        ]
        latents = torch.stack([latent for line in lines for latent in line])
        prompts = (explorer.model.prompt_for(explorer.source.classes[0]),) * len(latents)
        images = grid_of(explorer.images(Start(latents, prompts), "translate"), len(lines))
        labels = [f"pair {n + 1}, {what}" for n in range(self.samples) for what in ("window", "slice")]
        title = f"columns of the latent taken from the second one (of {width})"
        save_sheets(explorer.folder / "translate.png", {title: images}, labels, [str(t) for t in shifts])
        scale = explorer.backbone.image_size / width
        rows: list[dict[str, Any]] = [
            {
                "pair": n // 2 + 1,
                "operator": ("window", "slice")[n % 2],
                "shift of the latent": t,
                "measured shift, pixels": leftward_shift(line[0], image),
                "predicted shift, pixels": scale * t if n % 2 == 0 else 0.0,
                "difference from the first image": rms(image, line[0]),
            }
            for n, line in enumerate(images)
            for t, image in zip(shifts, line, strict=True)
        ]
        save_table(explorer.folder / "translate.csv", rows)
        numbers = {"pixels per column of the latent": scale}
        for what in ("window", "slice"):
            early = [row for row in rows if row["operator"] == what and row["shift of the latent"] <= width / 2]
            line = fit_line(
                [row["shift of the latent"] for row in early], [row["measured shift, pixels"] for row in early]
            )
            numbers[f"{what}: measured pixels per column, first half of the way"] = round(line.slope, 2)
        moved = numbers["window: measured pixels per column, first half of the way"]
        note = ""
        if moved < scale / 2:
            note = (
                f"This backbone does not move the object with the noise: {moved:g} pixels per column of the latent, "
                f"where a translation would be {scale:g}."
            )
        return Findings(("translate.png",), ("translate.csv",), numbers, note)


def exchange_slice(p: Tensor, q: Tensor, t: int) -> Tensor:
    """The first t columns from q, the others from p, all in their places: [C, h, w].

    The study writes it as columns 64 to 64 + t of the concatenation, which are the first t of its second latent, before
    columns t to 64 of the first.
    """
    return torch.cat([q[..., :t], p[..., t:]], dim=-1)


def leftward_shift(before: Tensor, after: Tensor) -> int:
    """By how many pixels `after` [3, H, W] is `before` moved to the left: the shift of least error, up to W / 2."""
    width = before.shape[-1]
    errors = [float((before[..., s:] - after[..., : width - s]).square().mean()) for s in range(width // 2 + 1)]
    return errors.index(min(errors))
