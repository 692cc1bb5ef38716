"""Figure `path2d`: which way do the norms go between two points of the plane?"""

from dataclasses import dataclass
from math import pi
from typing import ClassVar, Literal, get_args

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.explore.drawing import GREY, NORM_COLOURS, charts, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.mix.interpolation import Norm, interpolate, slerp

PathName = Norm | Literal["slerp"]
NAMES: tuple[PathName, ...] = (*get_args(Norm), "slerp")
COLOURS = NORM_COLOURS | {"slerp": "#b3365e"}


@dataclass(frozen=True)
class Path2D:
    """Interpolation paths between two points of the plane, with the circle of norm √L (L = 2); no model is used.

    Args:
        start: Coordinates of the point where every path begins.
        end: Coordinates of the point where every path ends.
        steps: Number of points on each path.
    """

    start: tuple[float, float] = (1.85, 0.1)
    end: tuple[float, float] = (-0.75, 0.75)
    steps: PositiveInt = 101

    shows: ClassVar[str] = "interpolation paths in two dimensions, with the circle of norm √L"
    look_for: ClassVar[str] = (
        "lin cuts through the circle, fix jumps onto it, slerp may swing outside, nin keeps between its ends' norms"
    )
    origin: ClassVar[str] = "Landolsi & Kahl, Fig. 2; latent-space study, the two-dimensional trajectories"

    def draw(self, explorer: Explorer) -> Findings:
        """Write path2d.png and path2d.csv."""
        p, q = torch.tensor(self.start), torch.tensor(self.end)
        paths = {name: path(p, q, name, self.steps) for name in NAMES}
        figure, (axes,) = charts(1, 6.4, 5.6)
        circle = torch.linspace(0, 2 * pi, 200)
        axes.plot(2**0.5 * circle.cos(), 2**0.5 * circle.sin(), color="#c9ccd1", lw=5, zorder=0, label="norm √L")
        styles = {"lin": "-", "fix": ":", "nin": "-", "cog": "--", "ada": "-."}
        for name, points in paths.items():
            axes.plot(*points.T, styles.get(name, "-"), color=COLOURS[name], lw=1.9, label=name)
        axes.plot(*torch.stack([p, q]).T, "ko", ms=6)
        for point, label in ((p, "z₁"), (q, "z₂")):
            axes.annotate(label, point.tolist(), xytext=(8, 4), textcoords="offset points", fontsize=12)
        axes.plot(0, 0, "+", color=GREY)
        axes.set_aspect("equal")
        axes.legend(fontsize=9, loc="lower center")
        axes.set_title("paths between two latents in two dimensions")
        figure.savefig(explorer.folder / "path2d.png")
        rows = [
            {"path": name, "step": n, "x": float(x), "y": float(y), "norm": float((x * x + y * y) ** 0.5)}
            for name, points in paths.items()
            for n, (x, y) in enumerate(points)
        ]
        save_table(explorer.folder / "path2d.csv", rows)
        numbers = {
            "norm of the ends": [round(float(p.norm()), 3), round(float(q.norm()), 3)],
            "√L": round(2**0.5, 3),
            "smallest and largest norm": {
                name: [round(float(points.norm(dim=1).min()), 3), round(float(points.norm(dim=1).max()), 3)]
                for name, points in paths.items()
            },
        }
        return Findings(("path2d.png",), ("path2d.csv",), numbers)


def path(p: Tensor, q: Tensor, name: PathName, steps: int) -> Tensor:
    """Points [steps, 2] of a path from p [2] to q [2]: mixtures with weights (1 - t, t), t from 0 to 1."""
    z = torch.stack([p, q]).view(2, 2, 1, 1)  # L = 2
    points = []
    for t in torch.linspace(0, 1, steps).tolist():
        if name == "slerp":
            points.append(slerp(p, q, t))
        else:
            points.append(interpolate(z, torch.tensor([1 - t, t]), name, "0").flatten())
    return torch.stack(points)
