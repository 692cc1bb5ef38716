"""Figure `bias`: how does the mean of each channel grow with the number of sources?

For latents z_n = d + e_n with a small common d and independent e_n of norm √L, the centroid's norm is about √(L/N), so
that `fix` amplifies by √L / |centroid| ≈ √N and the channel means of `fix/0` become about √N·d (Landolsi & Kahl, Eq. 5
to 9). `fix/chm` mixes the channel means linearly: they stay at d. The first prediction drawn is √N·d_c, with d_c the
mean of channel c over all single latents of the class.

It holds while d is small against the noise that is left, b² ≪ 1/N with b² = |d|²/L, and while the latents have nothing
but d in common. Latents of one class, or of a small model, have more in common than channel means. The second
prediction is Eq. 5 without the approximation: with b² the mean square of all that the latents have in common and σ² the
variance of the rest, √L / |centroid| = 1 / √(b² + σ²/N), which grows like √N / σ and levels off at 1 / b.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.explore.drawing import BLUE, GREY, ORANGE, charts, save_table, square_root_axis
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.explore.figures.strip import gather
from augment.explore.sources import counts_up_to
from augment.mix.draws import Mixing, draw_mixture
from augment.mix.interpolation import Mean, interpolate
from augment.runtime.numbers import NonNegativeNumber

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
        counts: Numbers of sources N to try; a class with fewer images gives all that it has.
        classes: Names of the classes to measure; by default the first eight.
        draws: Number of random subsets per N over which channel means are averaged.
        latents: Which images the sources are inverted from: `real` ones, or `generated` ones, perturbed as in the
            paper's Section 4.1.
        perturbation: Standard deviation of the noise that is added to generated images, whose pixels are in [-1, 1].
    """

    counts: tuple[PositiveInt, ...] = (1, 2, 4, 8, 16, 32, 48, 64, 96)
    classes: tuple[str, ...] = ()
    draws: PositiveInt = 20
    latents: Literal["real", "generated"] = "real"
    perturbation: NonNegativeNumber = 0.02

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
        means = {method: by_count(rows, method, "channel mean") for method in ("fix/0", "fix/chm")}
        lines = {method: fit_line(np.sqrt(list(points)), list(points.values())) for method, points in means.items()}
        offset = float(torch.stack([found.latents.mean(dim=(0, 2, 3)).abs() for found in sources.values()]).mean())
        self.plot(explorer, rows, means, lines, offset)
        numbers: dict[str, Any] = {"classes": len(names), "mean |d| of single latents": round(offset, 4)}
        for method, line in lines.items():
            numbers |= {
                f"{method}: slope of mean |channel mean| on √N": round(line.slope, 4),
                f"{method}: intercept": round(line.intercept, 4),
                f"{method}: R²": round(line.r2, 3),
                f"{method}: mean |channel mean|": {n: round(v, 4) for n, v in means[method].items()},
            }
        by_equation = by_count(rows, "fix/0", "predicted by Eq. 5")
        amplification = by_count(rows, "fix/0", "amplification")
        numbers |= {
            "fix/0: mean |channel mean| / √N": {n: round(v / n**0.5, 4) for n, v in means["fix/0"].items()},
            "fix/0: predicted by Eq. 5": {n: round(v, 4) for n, v in by_equation.items()},
            "fix/0: amplification √L/|centroid|": {n: round(v, 2) for n, v in amplification.items()},
        }
        return Findings(("bias.png",), ("bias.csv",), numbers)

    def measure(self, explorer: Explorer, name: str, latents: Tensor, counts: list[int]) -> list[dict[str, Any]]:
        """Channel means of one class's centroids, a row per method, N and channel."""
        label = explorer.source.classes.index(name)
        d = latents.mean(dim=(0, 2, 3))  # [C]
        common = common_part(latents)
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
                            "predicted by √N": float(d[c]) * (n**0.5 if mean == "0" else 1),
                            "predicted by Eq. 5": float(d[c]) * (common.amplification(n) if mean == "0" else 1),
                            "amplification": amplification,
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
        figure, (*panels, summary) = charts(3, 4.7, 4.3)
        counts = sorted({row["N"] for row in rows})
        colours = (BLUE, ORANGE)
        for axes, method in zip(panels, ("fix/0", "fix/chm"), strict=True):
            for name in dict.fromkeys(row["class"] for row in rows):
                for c in range(min(DRAWN, 1 + max(row["channel"] for row in rows))):
                    curve = [r for r in rows if (r["class"], r["method"], r["channel"]) == (name, method, c)]
                    x, y = [row["N"] for row in curve], [row["channel mean"] for row in curve]
                    axes.plot(x, y, "o-", color=colours[c], ms=3, lw=1.2, alpha=0.7, label=f"channel {c}")
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
        by_equation = by_count(rows, "fix/0", "predicted by Eq. 5")
        summary.plot(list(by_equation), list(by_equation.values()), ":", color=GREY, lw=2, label="predicted: Eq. 5")
        square_root_axis(summary, counts)
        summary.set_title("mean |channel mean|, all classes and channels")
        summary.set_ylim(0, 1.6 * max(max(points.values()) for points in means.values()))
        summary.legend(fontsize=7.5, ncols=2, loc="upper left")
        figure.savefig(explorer.folder / "bias.png")


@dataclass(frozen=True)
class Common:
    """What latents share and what not, per entry: the mean square of the common part, the variance of the rest."""

    square: float
    variance: float

    def amplification(self, n: int) -> float:
        """√L / |centroid of n latents|: Eq. 5 with the norm of the common part left in."""
        return (self.square + self.variance / n) ** -0.5


def common_part(latents: Tensor) -> Common:
    """Unbiased estimates from latents [K, C, h, w]; a single latent is all common part."""
    k = len(latents)
    mean_square = float(latents.mean(dim=0).square().mean())
    if k == 1:
        return Common(mean_square, 0.0)
    variance = float(latents.var(dim=0).mean())
    return Common(max(mean_square - variance / k, 0.0), variance)


def channel_means(latents: Tensor, mean: Mean) -> Tensor:
    """Channel means [C] of the `fix` centroid of latents [N, C, h, w]."""
    return interpolate(latents, torch.full((len(latents),), 1 / len(latents)), "fix", mean).mean(dim=(1, 2))


def amplify(latents: Tensor) -> Tensor:
    """The factor by which `fix/0` scales a centroid: √L / |mean of latents [N, C, h, w]| (Eq. 5)."""
    return latents.mean(dim=0).square().mean().rsqrt()


def by_count(rows: list[dict[str, Any]], method: str, column: str) -> dict[int, float]:
    """N -> the magnitude of one column of a method's rows, averaged over classes and channels."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["method"] == method:
            found.setdefault(row["N"], []).append(abs(row[column]))
    return {n: float(np.mean(values)) for n, values in found.items()}


def fit_line(x: Any, y: Any) -> Line:
    """Least squares; a single point gives a horizontal line."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < 2:
        return Line(0.0, float(y.mean()), float("nan"))
    slope, intercept = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    left = float(((y - slope * x - intercept) ** 2).sum())
    return Line(float(slope), float(intercept), 1 - left / spread if spread else float("nan"))
