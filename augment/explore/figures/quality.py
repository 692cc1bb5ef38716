"""Figure `quality`: how good are the images of centroids, by norm and mean adjustment and number of sources?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.errors import UserError
from augment.explore.drawing import MEAN_LINES, NORM_COLOURS, charts, save_table, square_root_axis
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.explore.figures.bias import CENTROID
from augment.explore.sources import Sources, counts_up_to
from augment.images.pixels import to_tensor
from augment.measure.metrics import cosine_distance, frechet_distance, frechet_name
from augment.mix.draws import draw_mixture
from augment.mix.registry import MethodName

COSINE = "cosine distance"
GROWN = 8
"""Number of sources from which on a bias is amplified enough to be seen."""


@dataclass(frozen=True)
class Quality:
    """Fréchet distance, and cosine distance from the class's mean embedding, against N for norm/mean pairs.

    Real images are all of the class in the source. The paper compares 1,000 centroids of up to 64 of about 1,300
    images with Inception for FID and CLIP for the cosine distance. Subsets of a few images overlap as N nears
    their number: then all centroids are alike, and every method's Fréchet distance grows for want of variety.

    Args:
        counts: Numbers of sources N to try; a class with fewer images gives all that it has.
        methods: Pairs of norm and mean adjustment, such as nin/chm. The default leaves out lin/m and lin/chm, which
            equal lin/0: linear mixing does to a mean what it does to the rest.
        classes: Names of the classes to measure; by default the first three.
        images: Number of centroids per class, method and N, each of another random subset.
    """

    counts: tuple[PositiveInt, ...] = (2, 4, 8, 16, 32, 64)
    methods: tuple[MethodName, ...] = ("lin/0", "fix/0", "fix/m", "fix/chm", "nin/0", "nin/m", "nin/chm")
    classes: tuple[str, ...] = ()
    images: PositiveInt = 24

    shows: ClassVar[str] = "distance of centroid images from real ones against N, for all norm/mean pairs"
    look_for: ClassVar[str] = (
        "the paper's order is chm best, m between, 0 worst and falling with N, and fix slightly ahead of nin; the "
        "numbers say where this backbone differs"
    )
    origin: ClassVar[str] = "Landolsi & Kahl, Fig. 7"

    def draw(self, explorer: Explorer) -> Findings:
        """Write quality.png and quality.csv."""
        if self.images < 2:
            raise UserError("quality.images", f"{self.images} image has no variance", "give at least 2")
        extractor = explorer.extractor  # before the long work: its weights may be missing
        names = explorer.classes(self.classes, 3)
        sources = explorer.real(names)
        counts = counts_up_to(self.counts, min(map(len, sources.values())))
        rows = [row for name in names for row in self.measure(explorer, name, sources[name], counts)]
        save_table(explorer.folder / "quality.csv", rows)
        distance = frechet_name(extractor.name)
        plot(explorer.folder / "quality.png", rows, distance, extractor.name)
        return Findings(("quality.png",), ("quality.csv",), compare(rows, distance))

    def measure(self, explorer: Explorer, name: str, sources: Sources, counts: list[int]) -> list[dict[str, Any]]:
        """Distances of one class's centroid images, a row per method and N."""
        label, extractor = explorer.source.classes.index(name), explorer.extractor
        size = explorer.backbone.image_size
        pictures = explorer.source.readable(explorer.pool[name], explorer.skip_bad)
        real = extractor.features(torch.stack([to_tensor(picture, size) for picture in pictures]))  # [M, D]
        rows = []
        for method in self.methods:
            starts = [
                sources.centroid(draw_mixture(CENTROID, n, len(sources), explorer.seed, label, index).sources, method)
                for n in counts
                for index in range(self.images)
            ]
            made: Tensor = extractor.features(explorer.images(starts, f"quality: {name}, {method}"))
            for n, features in zip(counts, torch.split(made, self.images), strict=True):
                rows.append(
                    {
                        "class": name,
                        "method": method,
                        "N": n,
                        frechet_name(extractor.name): frechet_distance(real, features),
                        COSINE: float(cosine_distance(real.mean(dim=0), features)),
                    }
                )
        return rows


def plot(path: Path, rows: list[dict[str, Any]], frechet: str, extractor: str) -> None:
    """Both distances against N, a line per method; methods stand a little apart, so that error bars can be told."""
    methods, counts = (list(dict.fromkeys(row[key] for row in rows)) for key in ("method", "N"))
    names = list(dict.fromkeys(row["class"] for row in rows))
    figure, panels = charts(2, 6.2, 4.8)
    for axes, distance in zip(panels, (frechet, COSINE), strict=True):
        for number, method in enumerate(methods):
            norm, mean = method.split("/")
            found = [[r[distance] for r in rows if (r["method"], r["N"]) == (method, n)] for n in counts]
            aside = 0.007 * max(counts) ** 0.5 * (number - (len(methods) - 1) / 2)
            axes.errorbar(
                [(n**0.5 + aside) ** 2 for n in counts], [np.mean(v) for v in found], [np.std(v) for v in found],
                fmt="o" + MEAN_LINES[mean], color=NORM_COLOURS[norm], ms=3.5, lw=1.4, elinewidth=0.7, label=method,
            )  # fmt: skip
        square_root_axis(axes, counts)
        axes.set_ylabel(f"{distance} ({extractor} features)" if distance == COSINE else distance)
        axes.set_ylim(bottom=0)
    shown = ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
    figure.suptitle(f"mean ± standard deviation over classes ({len(names)}: {shown})", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=9, fontsize=9)
    figure.savefig(path)


def compare(rows: list[dict[str, Any]], frechet: str) -> dict[str, Any]:
    """Orders of the methods at each N, best first, and how often the paper's order holds.

    That is the number of (class, N) cells in which one method's distance is smaller than the other's, for every pair of
    methods that differ in their mean adjustment alone (chm against 0 and m, m against 0) or in their norm alone (fix
    and nin). Cells of few sources, where no bias has grown yet, are left out if there are others.
    """
    numbers: dict[str, Any] = {"paper's order": "*/chm, then */m, then */0; fix slightly ahead of nin"}
    counts = sorted({row["N"] for row in rows})
    grown = [n for n in counts if n >= GROWN] or counts
    for distance in (frechet, COSINE):
        cells: dict[str, dict[tuple[str, int], float]] = {}
        for row in rows:
            cells.setdefault(row["method"], {})[row["class"], row["N"]] = row[distance]
        for count in counts:
            mean = {m: float(np.mean([v for (_, n), v in found.items() if n == count])) for m, found in cells.items()}
            order = sorted(mean, key=mean.__getitem__)
            numbers[f"{distance}, order at N = {count}"] = {m: round(mean[m], 4) for m in order}
        for better, worse in expected(list(cells)):
            wins = [cells[better][cell] < value for cell, value in cells[worse].items() if cell[1] in grown]
            numbers[f"{distance}: {better} closer than {worse}, N from {grown[0]}"] = (
                f"{sum(wins)} of {len(wins)} cells"
            )
    return numbers


def expected(methods: list[str]) -> list[tuple[str, str]]:
    """The pairs of methods whose order the paper states, the better first."""
    pairs = [
        (f"{norm}/{better}", f"{norm}/{worse}")
        for norm in dict.fromkeys(method.split("/")[0] for method in methods)
        if norm != "lin"
        for better, worse in (("chm", "0"), ("chm", "m"), ("m", "0"))
    ]
    pairs += [(f"fix/{mean}", f"nin/{mean}") for mean in ("0", "m", "chm")]
    return [(better, worse) for better, worse in pairs if better in methods and worse in methods]
