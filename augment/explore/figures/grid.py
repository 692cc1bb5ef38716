"""Figure `grid`: are the paths between two noises smooth, and the same every time? DDPM against DDIM."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.backbones.start import Sampler, Start
from augment.errors import UserError
from augment.explore.drawing import grid_of, save_sheets, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.images.pixels import to_uint8
from augment.mix.draws import noise_seed
from augment.mix.interpolation import interpolate, slerp

PathName = Literal["linear", "normalised", "slerp"]
PATHS: tuple[PathName, ...] = get_args(PathName)


@dataclass(frozen=True)
class Grid:
    """Rows of pairs × columns of α on the path between two latents, by DDPM (η = 1) and DDIM (η = 0) side by side.

    DDPM draws fresh noise for every image, as in the guide. A path's smoothness is the distance between neighbours in
    the extractor's space, mean and worst, over the distance between its ends.

    Args:
        columns: Number of values of α from 0 to 1; each gives a column.
        samples: Number of pairs of latents that are measured.
        rows: Number of pairs that are drawn.
        between: What the paths join: `noise` joins random latents, `images` the inverted first two of each class.
        paths: Ways from one latent to the other; `normalised` divides the linear one by √(α² + (1 - α)²).
    """

    columns: PositiveInt = 9
    samples: PositiveInt = 8
    rows: PositiveInt = 3
    between: Literal["noise", "images"] = "noise"
    paths: tuple[PathName, ...] = PATHS

    shows: ClassVar[str] = "paths between two latents by DDPM and by DDIM, for linear, normalised and spherical mixing"
    look_for: ClassVar[str] = (
        "DDIM's rows change little from image to image, DDPM's jump; linear paths lose contrast in the middle"
    )
    origin: ClassVar[str] = "DDIM/DDPM guide, interpolation grids; latent-space study, the interpolations"

    def draw(self, explorer: Explorer) -> Findings:
        """Write grid.png, grid.csv (every step of every path) and the measurements."""
        if self.columns < 2:
            raise UserError("grid.columns", f"a path has two ends, not {self.columns}", "give at least 2")
        extractor = explorer.extractor
        samplers, note = self.samplers(explorer)
        p, q, prompts = self.ends(explorer)
        alphas = torch.linspace(0, 1, self.columns).tolist()
        blocks: dict[str, list[Tensor]] = {name: [] for name in samplers}
        rows: list[dict[str, Any]] = []
        equal: dict[str, bool] = {}
        for path in self.paths:
            latents = torch.stack([along(a, b, alpha, path) for a, b in zip(p, q, strict=True) for alpha in alphas])
            for name, sampler in samplers.items():
                start = self.start(latents, prompts, explorer.seed)
                images = explorer.images(start, f"grid: {name}, {path}", sampler)
                lines = grid_of(images, len(p))  # [samples, columns, 3, H, W]
                blocks[name].append(lines[: self.rows])
                rows += [
                    {"sampler": name, "path": path, "pair": number} | row
                    for number, line in enumerate(lines)
                    for row in steps(extractor.features(line), alphas)
                ]
                if path == self.paths[0]:
                    for seed, what in ((explorer.seed, "same seed"), (explorer.seed + 1, "another seed")):
                        again = explorer.images(self.start(latents, prompts, seed), f"grid: {name} again", sampler)
                        equal[f"{name}, {what}"] = torch.equal(to_uint8(images), to_uint8(again))
        save_table(explorer.folder / "grid.csv", rows)
        labels = [f"{path} {n + 1}" for path in self.paths for n in range(min(self.rows, len(p)))]
        sheets = {name: torch.cat(parts) for name, parts in blocks.items()}
        save_sheets(explorer.folder / "grid.png", sheets, labels, [f"α={alpha:.2g}" for alpha in alphas])
        smooth = smoothness(rows)
        numbers: dict[str, Any] = {"smoothness": smooth, "two runs are equal": equal}
        if len(samplers) == 2:
            stochastic, deterministic = samplers
            numbers["DDPM over DDIM"] = {
                path: {
                    what: round(smooth[f"{stochastic}, {path}"][what] / smooth[f"{deterministic}, {path}"][what], 2)
                    for what in ("mean step", "worst step")
                }
                for path in self.paths
            }
        return Findings(("grid.png",), ("grid.csv",), numbers, note)

    def samplers(self, explorer: Explorer) -> tuple[dict[str, Sampler], str]:
        """DDPM and DDIM; the deterministic one alone where the family knows no fresh noise."""
        deterministic = replace(explorer.model.sampler, kind="first-order", eta=0.0)
        stochastic = replace(deterministic, eta=1.0)
        try:
            explorer.backbone.check_sampler(stochastic)
        except UserError as error:
            return {"deterministic": deterministic}, f"DDPM is left out: {error}"
        return {"DDPM (η = 1)": stochastic, "DDIM (η = 0)": deterministic}, ""

    def ends(self, explorer: Explorer) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Both ends of every path [samples, C, h, w], and its prompt."""
        if self.between == "noise":
            p, q = explorer.noise(2 * self.samples).chunk(2)
            return p, q, (explorer.model.prompt_for(explorer.source.classes[0]),) * self.samples
        found = list(explorer.real(explorer.classes((), self.samples)).values())
        if any(len(sources) < 2 for sources in found):
            raise UserError("grid.between", "a class has one image only", "raise `shots` or join noise")
        p, q = (torch.stack([sources.latents[n] for sources in found]) for n in (0, 1))
        return p, q, tuple(sources.prompt for sources in found)

    def start(self, latents: Tensor, prompts: Sequence[str], seed: int) -> Start:
        """All images of all paths; each has a noise seed of its own."""
        seeds = tuple(noise_seed(seed, row, column) for row in range(len(prompts)) for column in range(self.columns))
        return Start(latents, tuple(prompt for prompt in prompts for _ in range(self.columns)), seeds=seeds)


def along(p: Tensor, q: Tensor, alpha: float, path: PathName) -> Tensor:
    """The latent [C, h, w] at α on a path from p to q.

    `normalised` is `cog` of two sources: the linear mixture over √(γ(2γ - 2) + 1), which is √(γ² + (1 - γ)²).
    """
    if path == "slerp":
        return slerp(p, q, alpha)
    weights = torch.tensor([1 - alpha, alpha])
    return interpolate(torch.stack([p, q]), weights, "lin" if path == "linear" else "cog", "0")


def steps(features: Tensor, alphas: Sequence[float]) -> list[dict[str, Any]]:
    """Distances between neighbours on one path with features [columns, D], and between its ends."""
    ends = float((features[-1] - features[0]).norm())
    distances = (features[1:] - features[:-1]).norm(dim=1).tolist()
    return [
        {"from": round(a, 4), "to": round(b, 4), "step": step, "ends": ends}
        for (a, b), step in zip(pairwise(alphas), distances, strict=True)
    ]


def smoothness(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and worst step per sampler and path, averaged over pairs: in features, and over the ends' distance."""
    found: dict[str, dict[str, float]] = {}
    for sampler, path in dict.fromkeys((row["sampler"], row["path"]) for row in rows):
        here = [row for row in rows if (row["sampler"], row["path"]) == (sampler, path)]
        pairs = [[row for row in here if row["pair"] == pair] for pair in {row["pair"] for row in here}]
        distances = torch.tensor([[row["step"] for row in pair] for pair in pairs])  # [pairs, columns - 1]
        ends = torch.tensor([pair[0]["ends"] for pair in pairs])
        found[f"{sampler}, {path}"] = {
            "mean step": round(float(distances.mean()), 4),
            "worst step": round(float(distances.amax(dim=1).mean()), 4),
            "length over distance of the ends": round(float(distances.sum() / ends.sum()), 3),
        }
    return found
