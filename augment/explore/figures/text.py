"""Figure `text`: what if the words change and the noise stays?"""

import textwrap
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.backbones.base import Backbone
from augment.backbones.schedule import transfer
from augment.backbones.start import Condition, Start, join
from augment.errors import UserError
from augment.explore.drawing import change, grid_of, save_sheets, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings


@dataclass(frozen=True)
class Text:
    """Two prompts' embeddings mixed linearly at a fixed latent, and several prompts at a fixed latent.

    Args:
        prompts: The two ends of the path; by default the prompts of the first two classes, or, where the model's prompt
            names no class, that prompt and the empty one.
        swaps: Prompts that the second sheet shows at the same noise; by default both ends, "a landscape" and "a face".
        columns: Number of values of γ from 0 to 1; each gives a column.
        samples: Number of noise latents; each gives a row.
    """

    prompts: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()
    columns: PositiveInt = 7
    samples: PositiveInt = 4

    shows: ClassVar[str] = "interpolation between two prompts' embeddings, and a swap of prompts, at a fixed latent"
    look_for: ClassVar[str] = (
        "what stays along a row is decided by the latent (layout, pose, colours), what changes by the words"
    )
    origin: ClassVar[str] = "latent-space study, interpolation in text space and four prompts at one latent"

    def draw(self, explorer: Explorer) -> Findings:
        """Write text.png, text-swap.png and text.csv."""
        if self.columns < 2:
            raise UserError("text.columns", f"a path has two ends, not {self.columns}", "give at least 2")
        ends = self.ends(explorer)
        swaps = self.swaps or (*ends, "a landscape", "a face")
        noise = explorer.noise(self.samples)
        images = grid_of(explorer.decode(self.path(explorer, noise, ends)), self.samples)
        swapped = explorer.images(
            Start(noise.repeat_interleave(len(swaps), 0), tuple(swaps) * self.samples), "text: swap"
        )
        swapped = grid_of(swapped, self.samples)  # [samples, swaps, 3, H, W]
        labels = [f"noise {n + 1}" for n in range(self.samples)]
        gammas = torch.linspace(0, 1, self.columns).tolist()
        title = f"from '{ends[0]}' to '{ends[1]}'"
        save_sheets(explorer.folder / "text.png", {title: images}, labels, [f"{gamma:.2g}" for gamma in gammas])
        words = [wrap(prompt) for prompt in swaps]
        save_sheets(explorer.folder / "text-swap.png", {"prompts at a fixed latent": swapped}, labels, words)
        rows: list[dict[str, Any]] = [
            {"γ": round(gamma, 4), "prompt": "", "change against γ = 0": change(images[:, n], images[:, 0])}
            for n, gamma in enumerate(gammas)
        ]
        rows += [
            {"γ": None, "prompt": prompt, "change against γ = 0": change(swapped[:, n], images[:, 0])}
            for n, prompt in enumerate(swaps)
        ]
        save_table(explorer.folder / "text.csv", rows)
        by_words = change(images[:, -1], images[:, 0])
        by_noise = change(images[:, 0], images[:, 0].roll(1, 0))
        numbers = {"change by the words": round(by_words, 4), "change by other noise": round(by_noise, 4)}
        note = ""
        if by_words < 0.2 * by_noise:
            note = (
                "The words hardly matter to this backbone: the two prompts change an image by "
                f"{by_words / by_noise:.0%} of what other noise does."
            )
        return Findings(("text.png", "text-swap.png"), ("text.csv",), numbers, note)

    def ends(self, explorer: Explorer) -> tuple[str, str]:
        """Both ends of the path."""
        if self.prompts:
            if len(self.prompts) != 2:
                raise UserError("text.prompts", f"a path has two ends, not {len(self.prompts)}", "give two prompts")
            return self.prompts[0], self.prompts[1]
        first, *others = dict.fromkeys(map(explorer.model.prompt_for, explorer.source.classes))
        return first, (others or [""])[0]

    def path(self, explorer: Explorer, noise: Tensor, ends: tuple[str, str]) -> Tensor:
        """Clean latents [samples * columns, C, h, w], a row per noise latent."""
        backbone = explorer.prepared()
        conditions = [mixed(backbone, ends, g) for g in torch.linspace(0, 1, self.columns).tolist()]
        lines = []
        for condition in conditions:  # one batch per column: its rows share the condition
            parts = [sample(explorer, part, condition) for part in torch.split(noise, explorer.batch_size)]
            lines.append(torch.cat(parts))
        return torch.stack(lines, dim=1).flatten(0, 1)


def mixed(backbone: Backbone, ends: tuple[str, str], gamma: float) -> Condition:
    """The condition at γ on the straight line between two prompts' embeddings (one row).

    Raises:
        UserError: If the backbone knows no text.
    """
    first, second = (backbone.condition([prompt]) for prompt in ends)
    if not first.embeddings.is_floating_point():
        raise UserError("text", "this backbone reads no text, so there is nothing to interpolate", "use one that does")
    pooled = None
    if first.pooled is not None and second.pooled is not None:
        pooled = torch.lerp(first.pooled, second.pooled, gamma)
    mask = None
    if first.mask is not None and second.mask is not None:
        mask = first.mask | second.mask
    return Condition(torch.lerp(first.embeddings, second.embeddings, gamma), pooled, mask)


@torch.inference_mode()
def sample(explorer: Explorer, noise: Tensor, condition: Condition) -> Tensor:
    """Noise [B, C, h, w] to clean latents under one condition, by first-order steps with the model's guidance."""
    backbone, guidance = explorer.prepared(), explorer.model.guidance
    schedule = backbone.schedule(explorer.model.steps)
    z = noise.to(backbone.device)
    wanted = join([condition] * len(z))
    for step in schedule.steps:
        output = backbone.predict(z, step.noisy.time, wanted)
        if guidance != 1:
            without = backbone.predict(z, step.noisy.time, backbone.unconditional([""] * len(z)))
            output = without + guidance * (output - without)
        z = transfer(schedule.prediction, z, output, step.noisy, step.clean, schedule.clip)
    return z.cpu()


def wrap(prompt: str, width: int = 11) -> str:
    """The prompt as a heading of short lines."""
    return "\n".join(textwrap.wrap(prompt, width)) or "(empty)"
