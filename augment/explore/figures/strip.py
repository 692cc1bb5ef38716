"""Figure `strip`: what do centroids of more and more images look like?"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.explore.drawing import grid_of, save_sheets, save_table
from augment.explore.explorer import Explorer
from augment.explore.figure import Findings
from augment.explore.sources import Sources, counts_up_to
from augment.mix.registry import MethodName
from augment.runtime.numbers import NonNegativeNumber


@dataclass(frozen=True)
class Strip:
    """Images generated from centroids of N latents, a row per norm/mean pair, a column per class and N.

    With one count and several classes it is the paper's Fig. 9; with `--model.inversion.kind null-text` Fig. 11.

    Args:
        counts: Numbers of sources N to try; a class with fewer images gives all that it has.
        methods: Pairs of norm and mean adjustment, such as nin/chm; each gives a row.
        classes: Names of the classes to mix within; by default the first class.
        latents: Which images the sources are inverted from: `real` ones, or `generated` ones, perturbed as in the
            paper's Section 4.1.
        perturbation: Standard deviation of the noise that is added to generated images, whose pixels are in [-1, 1].
    """

    counts: tuple[PositiveInt, ...] = (2, 8, 32, 48, 64, 96)
    methods: tuple[MethodName, ...] = ("lin/0", "fix/0", "fix/chm", "nin/chm")
    classes: tuple[str, ...] = ()
    latents: Literal["real", "generated"] = "real"
    perturbation: NonNegativeNumber = 0.02

    shows: ClassVar[str] = "centroids of N inverted images, for growing N and several norm/mean pairs"
    look_for: ClassVar[str] = (
        "lin fades as N grows; whether fix/0 degenerates with its growing bias, and the chm rows keep colour and detail"
    )
    origin: ClassVar[str] = "Landolsi & Kahl, Fig. 1, 3, 5, 8–12"

    def draw(self, explorer: Explorer) -> Findings:
        """Write strip.png and strip.csv."""
        sources = gather(explorer, explorer.classes(self.classes, 1), self.latents, max(self.counts), self.perturbation)
        columns = [(name, n) for name, found in sources.items() for n in counts_up_to(self.counts, len(found))]
        starts = [
            [sources[name].centroid(range(n), method) for name, n in columns] for method in self.methods
        ]  # rows of the sheet
        images = explorer.images([start for row in starts for start in row], "strip")
        several = len(sources) > 1
        labels = [f"{name}\nN = {n}" if several else f"N = {n}" for name, n in columns]
        title = f"centroids of {self.latents} images" + ("" if several else f" of '{columns[0][0]}'")
        save_sheets(
            explorer.folder / "strip.png", {title: grid_of(images, len(self.methods))}, list(self.methods), labels
        )
        rows = [
            {"method": method, "class": name, "N": n} | statistics(start.latent[0])
            for method, row in zip(self.methods, starts, strict=True)
            for (name, n), start in zip(columns, row, strict=True)
        ]
        save_table(explorer.folder / "strip.csv", rows)
        last = {row["method"]: row for row in rows}  # the largest N of the last class
        numbers = {
            "sources": {name: len(found) for name, found in sources.items()},
            "largest |channel mean| at the largest N": {m: row["largest |channel mean|"] for m, row in last.items()},
            "norm/√L at the largest N": {m: row["norm/√L"] for m, row in last.items()},
        }
        return Findings(("strip.png",), ("strip.csv",), numbers)


def gather(
    explorer: Explorer, names: list[str], latents: Literal["real", "generated"], count: int, perturbation: float
) -> dict[str, Sources]:
    """Latents of each class: of its real images, or `count` by the paper's recipe."""
    if latents == "real":
        return explorer.real(names)
    return {name: explorer.generated(name, count, perturbation) for name in names}


def statistics(latent: Tensor) -> dict[str, Any]:
    """What sets a latent [C, h, w] apart from noise: its norm, and the means of its channels."""
    means = latent.mean(dim=(1, 2))
    return {
        "norm/√L": round(float(latent.square().mean().sqrt()), 4),
        "largest |channel mean|": round(float(means.abs().max()), 4),
    } | {f"mean of channel {c}": round(float(mean), 4) for c, mean in enumerate(means)}
