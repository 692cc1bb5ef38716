"""Figure `bias`: how does the mean of each channel grow with the number of sources?

For latents z_n = d + e_n with a small common d and independent e_n of norm √L, the centroid's norm is about √(L/N), so
that `fix` amplifies by √L / |centroid| ≈ √N and the channel means of `fix/0` become about √N·d (Landolsi & Kahl, Eq. 5
to 9). `fix/chm` mixes the channel means linearly: they stay at d. The prediction drawn is √N·d_c, with d_c the mean of
channel c over all single latents of the class. Where the e_n of a class have something in common, the centroid's norm
shrinks more slowly, and the measured amplification √L / |centroid|, which is written beside it, stays behind √N.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor

from augment.explore.drawing import BLUE, GREY, ORANGE, charts, save_table, square_root_axis
from augment.explore.explorer import Explorer, counts_up_to
from augment.explore.figure import Findings
from augment.explore.strip import gather
from augment.interpolation import Mean, interpolate
from augment.mixing import Mixing, draw_mixture

CENTROID = Mixing(weights="centroid")
DRAWN = 2
"""Channels in the picture, as in the paper; the table holds all."""


@dataclass(frozen=True)
class Line:
    """A straight line fitted by least squares, and the share of variance that it explains."""

    slope: float
    intercept: float
    r2: float


@dataclass(frozen=True)
class Bias:
    """Channel means of fix/0 and fix/chm centroids against N, with the fitted slope and the prediction √N·d.

    Args:
        counts: Numbers of sources N; where a class has fewer images, all it has.
        classes: By default the first eight.
        draws: Random subsets per N, over which channel means are averaged.
        latents: `real` inverts real images; `generated` follows the paper's Section 4.1: generate, perturb, invert.
        perturbation: Standard deviation of the noise on generated images, pixels in [-1, 1].
    """

    counts: tuple[PositiveInt, ...] = (1, 2, 4, 8, 16, 32, 48, 64, 96)
    classes: tuple[str, ...] = ()
    draws: PositiveInt = 20
    latents: Literal["real", "generated"] = "real"
    perturbation: NonNegativeFloat = 0.02

    shows: ClassVar[str] = "channel means of fix/0 and fix/chm centroids against N, with the predicted √N·d"
    look_for: ClassVar[str] = (
        "on this axis growth by √N is a straight line: fix/0 rises with N, fix/chm stays where single latents are"
    )
    origin: ClassVar[str] = "Landolsi & Kahl, Fig. 4"

    def draw(self, explorer: Explorer) -> Findings:
        """Write bias.png and bias.csv."""
        names = explorer.classes(self.classes, 8)
        sources = gather(explorer, names, self.latents, max(self.counts), self.perturbation)
        counts = counts_up_to(self.counts, min(map(len, sources.values())))
        rows = [row for name in names for row in self.measure(explorer, name, sources[name].latents, counts)]
        save_table(explorer.folder / "bias.csv", rows)
        means = mean_bias(rows)
        lines = {method: fit_line(np.sqrt(list(points)), list(points.values())) for method, points in means.items()}
        offset = float(torch.stack([found.latents.mean(dim=(0, 2, 3)).abs() for found in sources.values()]).mean())
        self.plot(explorer, rows, means, lines, offset)
        amplification = {row["N"]: row["amplification"] for row in rows if row["method"] == "fix/0"}
        numbers: dict[str, Any] = {
            "classes": len(names),
            "mean |d| of single latents": round(offset, 4),
            "predicted slope for fix/0": round(offset, 4),
        }
        for method, line in lines.items():
            numbers[f"{method}: slope of mean |channel mean| on √N"] = round(line.slope, 4)
            numbers[f"{method}: intercept"] = round(line.intercept, 4)
            numbers[f"{method}: R²"] = round(line.r2, 3)
            numbers[f"{method}: mean |channel mean|"] = {n: round(v, 4) for n, v in means[method].items()}
        numbers["fix/0: mean |channel mean| / √N"] = {n: round(v / n**0.5, 4) for n, v in means["fix/0"].items()}
        numbers["amplification √L/|centroid| of the last class"] = amplification
        return Findings(("bias.png",), ("bias.csv",), numbers)

    def measure(self, explorer: Explorer, name: str, latents: Tensor, counts: list[int]) -> list[dict[str, Any]]:
        """Channel means of one class's centroids, a row per method, N and channel."""
        label = explorer.source.classes.index(name)
        d = latents.mean(dim=(0, 2, 3))  # [C]
        rows = []
        for n in counts:
            subsets = [
                draw_mixture(CENTROID, n, len(latents), explorer.seed, label, index).sources
                for index in range(self.draws)
            ]
            amplification = float(torch.stack([amplify(latents[list(chosen)]) for chosen in subsets]).mean())
            for mean in ("0", "chm"):
                found = torch.stack([channel_means(latents[list(chosen)], mean) for chosen in subsets])  # [draws, C]
                for c in range(len(d)):
                    rows.append(
                        {
                            "class": name,
                            "method": f"fix/{mean}",
                            "N": n,
                            "channel": c,
                            "channel mean": float(found[:, c].mean()),
                            "std over subsets": float(found[:, c].std(unbiased=False)),
                            "d": float(d[c]),
                            "predicted": float(d[c]) * (n**0.5 if mean == "0" else 1),
                            "amplification": round(amplification, 3),
                        }
                    )
        return rows

    def plot(
        self,
        explorer: Explorer,
        rows: list[dict[str, Any]],
        means: dict[str, dict[int, float]],
        lines: dict[str, Line],
        offset: float,
    ) -> None:
        """Channel means of both methods, and their mean magnitude with fit and prediction."""
        figure, (*panels, summary) = charts(3, 4.6)
        counts = sorted({row["N"] for row in rows})
        colours = dict(enumerate((BLUE, ORANGE)))
        for axes, method in zip(panels, ("fix/0", "fix/chm"), strict=True):
            for name in dict.fromkeys(row["class"] for row in rows):
                for c in range(min(DRAWN, 1 + max(row["channel"] for row in rows))):
                    curve = [r for r in rows if (r["class"], r["method"], r["channel"]) == (name, method, c)]
                    heights = [row["channel mean"] for row in curve]
                    axes.plot(
                        [row["N"] for row in curve],
                        heights,
                        "o-",
                        color=colours[c],
                        ms=3,
                        lw=1.2,
                        alpha=0.7,
                        label=f"channel {c}",
                    )
            square_root_axis(axes, counts)
            axes.set_title(f"{method}, one line per class")
            axes.axhline(0, color=GREY, lw=0.8)
        panels[1].sharey(panels[0])
        panels[0].set_ylabel("channel mean of the centroid")
        handles, labels = panels[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        panels[0].legend(unique.values(), unique.keys(), fontsize=8)
        fine = np.linspace(0, max(counts), 100)
        for method, colour in (("fix/0", ORANGE), ("fix/chm", BLUE)):
            line, points = lines[method], means[method]
            summary.plot(list(points), list(points.values()), "o", color=colour, label=f"{method}, measured")
            fitted = f"fit: {line.slope:.3f}·√N {line.intercept:+.3f}"
            summary.plot(fine, line.slope * np.sqrt(fine) + line.intercept, color=colour, lw=1.2, label=fitted)
        summary.plot(fine, offset * np.sqrt(fine), "--", color=GREY, label=f"predicted: √N·d, |d| = {offset:.3f}")
        square_root_axis(summary, counts)
        summary.set_title("mean |channel mean|, all classes and channels")
        summary.set_ylim(bottom=0)
        summary.legend(fontsize=8)
        figure.savefig(explorer.folder / "bias.png")


def channel_means(latents: Tensor, mean: Mean) -> Tensor:
    """Channel means [C] of the `fix` centroid of latents [N, C, h, w]."""
    return interpolate(latents, torch.full((len(latents),), 1 / len(latents)), "fix", mean).mean(dim=(1, 2))


def amplify(latents: Tensor) -> Tensor:
    """The factor by which `fix/0` scales a centroid: √L / |mean of latents [N, C, h, w]| (Eq. 5)."""
    return latents.mean(dim=0).square().mean().rsqrt()


def mean_bias(rows: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Method -> N -> |channel mean|, averaged over classes and channels."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(row["N"], []).append(abs(row["channel mean"]))
    return {method: {n: float(np.mean(values)) for n, values in by_n.items()} for method, by_n in found.items()}


def fit_line(x: Any, y: Any) -> Line:
    """Least squares; a single point gives a horizontal line."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < 2:
        return Line(0.0, float(y.mean()), float("nan"))
    slope, intercept = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    left = float(((y - slope * x - intercept) ** 2).sum())
    return Line(float(slope), float(intercept), 1 - left / spread if spread else float("nan"))
