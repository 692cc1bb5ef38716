"""Figure `morph`: a film that walks through several real images, by way of their mixtures."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.errors import UserError
from augment.explore.drawing import change, grid_of, save_sheets, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.explore.figures.strip import statistics
from augment.explore.sources import Sources
from augment.explore.video import frames_of, write_gif, write_mp4
from augment.mix.registry import MethodName


@dataclass(frozen=True)
class Morph:
    """A morph through several inverted images as GIF and MP4: weights walk the simplex from corner to corner.

    Args:
        inputs: Number of real images to walk through, taken from the classes in turn.
        frames: Number of images from one input to the next; the walk returns to the first.
        centre: Pass through the centroid of all inputs between two of them.
        classes: Names of the classes to take images from; by default the first ones, as many as there are inputs, or
            the first one alone if the prompt names a class.
        method: Pair of norm and mean adjustment of the mixtures; with nin every input appears as it is.
        rate: Frames per second of the film.
    """

    inputs: PositiveInt = 4
    frames: PositiveInt = 16
    centre: bool = False
    classes: tuple[str, ...] = ()
    method: MethodName = "nin/chm"
    rate: PositiveInt = 12

    shows: ClassVar[str] = "a film through several images: weights walk the simplex of their latents"
    look_for: ClassVar[str] = "every input appears where its weight is one, and what lies between stays an image"
    origin: ClassVar[str] = "Landolsi & Kahl, Section 7 (morphing to many inputs); latent-space study, the films"

    def draw(self, explorer: Explorer) -> Findings:
        """Write morph.gif, morph.mp4, morph.png (some frames) and morph.csv (weights of every frame)."""
        if self.inputs < 2:
            raise UserError("morph.inputs", f"a morph needs two images, not {self.inputs}", "give at least 2")
        sources, names = self.sources(explorer)
        weights = simplex_walk(self.inputs, self.frames, self.centre)
        starts = [sources.mix(range(self.inputs), w, self.method) for w in weights]
        images = explorer.images(starts, "morph")
        frames = frames_of(images)
        write_gif(explorer.folder / "morph.gif", frames, self.rate)
        write_mp4(explorer.folder / "morph.mp4", frames, self.rate)
        stops = list(range(0, len(images), self.frames))  # the frames that show an input
        shown = [n + round(part * self.frames / 8) for n in stops[:-1] for part in range(8)]
        sheet = grid_of(images[shown], len(stops) - 1)
        rows = [f"{names[n]} → {names[(n + 1) % self.inputs]}" for n in range(self.inputs)]
        columns = [f"{round(part * self.frames / 8) / self.frames:.2f}" for part in range(8)]
        save_sheets(explorer.folder / "morph.png", {f"frames of the film, {self.method}": sheet}, rows, columns)
        table = [
            {"frame": n} | {f"w{i}": round(float(x), 4) for i, x in enumerate(w)} | statistics(start.latent[0])
            for n, (w, start) in enumerate(zip(weights, starts, strict=True))
        ]
        save_table(explorer.folder / "morph.csv", table)
        changes = [change(a, b) for a, b in zip(images[1:], images[:-1], strict=True)]
        numbers = {
            "frames": len(images),
            "inputs": names,
            "mean change between frames": round(sum(changes) / len(changes), 4),
            "worst change between frames": round(max(changes), 4),
        }
        return Findings(("morph.gif", "morph.png", "morph.mp4"), ("morph.csv",), numbers)

    def sources(self, explorer: Explorer) -> tuple[Sources, list[str]]:
        """The inputs' latents and names. The prompt is that of the first: sources of a mixture share one."""
        names = explorer.classes(self.classes, 1 if explorer.model.prompts.tell_class else self.inputs)
        chosen = [(names[n % len(names)], n // len(names)) for n in range(self.inputs)]
        for name, number in chosen:
            available = min(explorer.shots, len(explorer.pool[name]))
            if number >= available:
                raise UserError(
                    "morph.inputs",
                    f"class '{name}' has {available} images, too few for {self.inputs} inputs of {len(names)} classes",
                    "lower it, or raise `shots`",
                )
        found = explorer.real(names)
        parts = [found[name] for name, _ in chosen]
        embeddings = [
            part.unconditional[n] for part, (_, n) in zip(parts, chosen, strict=True) if part.unconditional is not None
        ]
        latents = torch.stack([part.latents[n] for part, (_, n) in zip(parts, chosen, strict=True)])
        return Sources(latents, parts[0].prompt, torch.stack(embeddings) if embeddings else None), [
            n for n, _ in chosen
        ]


def simplex_walk(inputs: int, frames: int, centre: bool) -> Tensor:
    """Weights [inputs * frames + 1, inputs] of a closed walk from corner to corner of the simplex.

    Every `frames`-th row is a corner, and the last row is the first one again. Between two corners the walk follows
    the edge, or goes by way of the simplex's centre.
    """
    corners = torch.eye(inputs)
    rows = []
    for n in range(inputs):
        here, there = corners[n], corners[(n + 1) % inputs]
        middle = corners.mean(dim=0) if centre else (here + there) / 2
        for frame in range(frames):
            t = 2 * frame / frames
            rows.append((1 - t) * here + t * middle if t <= 1 else (2 - t) * middle + (t - 1) * there)
    return torch.stack([*rows, corners[0]])
