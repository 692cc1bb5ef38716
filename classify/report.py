"""What did the study find? `results.csv`, `report.md` and a self-contained `report.html`."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from rich.console import Console
from rich.table import Table

from augment.data import ImageSource
from augment.few_shot import choose_few_shot_set
from augment.shards import shard_name
from classify.figures import accuracy_against, accuracy_bars, real_grid, synthetic_grid
from classify.statistics import Estimate, estimate, paired

GRID_ROWS = 3
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Line:
    """One method's row of the table."""

    method: str
    accuracy: Estimate
    gain: Estimate | None
    distance: Estimate | None
    synthesis: float
    training: float
    testing: float


@dataclass(frozen=True)
class Pair:
    """What a mean adjustment changes under one norm: accuracy with it minus accuracy without."""

    adjusted: str
    plain: str
    change: Estimate


@dataclass(frozen=True)
class Picture:
    """A figure of the report, with what to look for."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Summary:
    """Everything the report says in numbers."""

    lines: list[Line]
    pairs: list[Pair]
    seeds: int
    shots: int
    distance: str
    inversion: float

    @property
    def answer(self) -> str:
        """The finding in two sentences."""
        best = max(self.lines, key=lambda line: line.accuracy.mean)
        text = f"Best mean accuracy: {best.method} with {percent(best.accuracy)} % over {self.seeds} seeds"
        if best.gain is not None:
            verdict = "" if best.gain.clear else ", which the interval cannot tell from no gain"
            text += f", {points(best.gain)} points against real images alone{verdict}"
        text += "."
        if self.pairs:
            listed = "; ".join(f"{pair.adjusted} {points(pair.change)}" for pair in self.pairs)
            clear = sum(pair.change.clear for pair in self.pairs)
            text += (
                f" Channel-wise mean adjustment against the same norm without it, points of accuracy: {listed}; "
                f"intervals that exclude zero: {clear} of {len(self.pairs)}."
            )
        return text


def summarize(rows: list[dict[str, Any]], distance: str) -> Summary:
    """Means over seeds and paired differences; only seeds that a method has in common with the other are paired."""
    frame = pd.DataFrame(rows)
    accuracy = {str(m): g.set_index("seed")["top1"].sort_index() for m, g in frame.groupby("method", sort=False)}

    def difference(first: str, second: str) -> Estimate:
        both = accuracy[first].index.intersection(accuracy[second].index)
        return paired(accuracy[first][both].tolist(), accuracy[second][both].tolist())

    lines = []
    for method, values in accuracy.items():
        members = frame[frame["method"] == method]
        made = method != "none"
        lines.append(
            Line(
                method=method,
                accuracy=estimate(values.tolist()),
                gain=difference(method, "none") if made and "none" in accuracy else None,
                distance=estimate(members[distance].tolist()) if made else None,
                synthesis=float(members["seconds"].map(lambda s: s.get("synthesize", 0.0)).mean()),
                training=float(members["seconds"].map(lambda s: s["train"]).mean()),
                testing=float(members["seconds"].map(lambda s: s["test"]).mean()),
            )
        )
    pairs = [
        Pair(method, plain, difference(method, plain))
        for method in accuracy
        if method.endswith("/chm") and (plain := method.removesuffix("chm") + "0") in accuracy
    ]
    inversion = frame["seconds"].map(lambda s: s.get("invert", 0.0)).groupby(frame["seed"]).max().mean()
    return Summary(lines, pairs, int(frame["seed"].nunique()), int(frame["shots"].iloc[0]), distance, float(inversion))


def write_report(
    folder: Path,
    rows: list[dict[str, Any]],
    source: ImageSource,
    config: dict[str, Any],
    distance: str,
    command: str,
    versions: dict[str, str],
) -> None:
    """Write the tables, figures and pages of a study, and print its table.

    Args:
        folder: Of the study.
        rows: One per finished cell.
        source: Where the real images come from.
        config: Of the study.
        distance: Name of the Fréchet distance among the rows' fields.
        command: How the study was started.
        versions: Of the libraries.
    """
    summary = summarize(rows, distance)
    flat = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} | seconds_of(row) for row in rows]
    pd.DataFrame(flat).to_csv(folder / "results.csv", index=False)
    pictures = draw(folder, summary, rows, source)
    context = {
        "summary": summary,
        "per_class": per_class(rows),
        "config": config,
        "command": command,
        "versions": versions,
        "percent": percent,
        "points": points,
        "number": number,
        "pictures": pictures,
    }
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["embed"] = lambda file: base64.b64encode((folder / file).read_bytes()).decode()
    for page in ("report.html", "report.md"):
        template = (TEMPLATES / f"{page}.jinja").read_text(encoding="utf-8")
        environment.autoescape = page.endswith("html")
        (folder / page).write_text(environment.from_string(template).render(context), encoding="utf-8")
    print_table(summary, folder)


def seconds_of(row: dict[str, Any]) -> dict[str, float]:
    """The seconds of a row's stages as columns."""
    return {f"seconds_{stage}": round(value, 3) for stage, value in row["seconds"].items()}


def per_class(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Mean accuracy of each class (rows) under each method (columns)."""
    frame = pd.DataFrame([{"method": row["method"], **row["per_class"]} for row in rows])
    return frame.groupby("method", sort=False).mean().T


def draw(folder: Path, summary: Summary, rows: list[dict[str, Any]], source: ImageSource) -> list[Picture]:
    """Draw every figure below `figures`."""
    (folder / "figures").mkdir(exist_ok=True)
    accuracy = {line.method: line.accuracy for line in summary.lines}
    values = {name: [row["top1"] for row in rows if row["method"] == name] for name in accuracy}
    accuracy_bars(folder / "figures/accuracy.png", accuracy, values)
    pictures = [Picture("figures/accuracy.png", "Accuracy", "Dashed: real images alone. Look for intervals beyond it.")]
    distances = {line.method: line.distance for line in summary.lines if line.distance is not None}
    if distances:
        accuracy_against(folder / "figures/distance.png", accuracy, distances, summary.distance)
        caption = f"Does a smaller {summary.distance} (synthetic against real pool) mean a better classifier?"
        pictures.append(Picture("figures/distance.png", "Accuracy against distance", caption))
    seed = rows[0]["seed"]
    few_shot = choose_few_shot_set(source, summary.shots, seed, skip_bad=True)
    real_grid(source, few_shot, GRID_ROWS).save(folder / "figures/real.png")
    pictures.append(Picture("figures/real.png", "Real", f"Few-shot images of seed {seed}, a column per class."))
    for name in distances:
        slug = name.replace("/", "-")
        shard = folder / "datasets" / f"{slug}-seed{seed}" / shard_name(0)
        if shard.is_file():
            synthetic_grid(shard, GRID_ROWS).save(folder / f"figures/{slug}.png")
            caption = f"First synthetic images of seed {seed}; all methods mix the same sources with the same weights."
            pictures.append(Picture(f"figures/{slug}.png", name, caption))
    return pictures


def print_table(summary: Summary, folder: Path) -> None:
    """Print the study's table to the terminal."""
    table = Table(title=f"{summary.seeds} seeds, {summary.shots} shots per class, mean ± 95 % interval")
    for column in ("method", "top-1, %", "against none", summary.distance, "synthesis, s", "training, s"):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=column != "synthesis, s")
    for line in summary.lines:
        table.add_row(
            line.method,
            percent(line.accuracy),
            points(line.gain) if line.gain else "–",
            number(line.distance) if line.distance else "–",
            f"{line.synthesis:.1f}",
            f"{line.training:.1f}",
        )
    console = Console()
    console.print(table)
    for pair in summary.pairs:
        console.print(f"{pair.adjusted} minus {pair.plain}: {points(pair.change)} points")
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True)


def percent(e: Estimate) -> str:
    """An accuracy in per cent with its interval."""
    return f"{100 * e.mean:.1f}" + (f" ± {100 * e.half:.1f}" if e.has_interval else "")


def points(e: Estimate) -> str:
    """A difference of accuracies in points with its interval."""
    return f"{100 * e.mean:+.2f}" + (f" ± {100 * e.half:.2f}" if e.has_interval else "")


def number(e: Estimate) -> str:
    """A plain number with its interval."""
    return f"{e.mean:.2f}" + (f" ± {e.half:.2f}" if e.has_interval else "")
