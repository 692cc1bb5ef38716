"""Which method does well everywhere? Mean ranks over the blocks of several studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.table import Table

from augment.errors import UserError
from augment.runtime.terminal import PlainConsole
from classify.report.statistics import Estimate, estimate, ranks
from classify.studies.results_folder import StudyFolder


@dataclass(frozen=True)
class Ranking:
    """Rank of each row, 1 for the best, in each block (study, classifier, shots), for the rows that all blocks have."""

    blocks: list[str]
    table: dict[str, list[float]]

    @property
    def means(self) -> dict[str, Estimate]:
        """Mean rank of each row over the blocks, best first."""
        found = {row: estimate(values) for row, values in self.table.items()}
        return dict(sorted(found.items(), key=lambda item: item[1].mean))


def rank(studies: Sequence[StudyFolder]) -> Ranking:
    """Rank the rows of studies by mean accuracy.

    Args:
        studies: Finished ones.

    Raises:
        UserError: If a folder holds no study's results, or the blocks have fewer than two rows in common.
    """
    blocks: dict[str, dict[str, float]] = {}
    paths = [study.path for study in studies]
    if twice := [path for n, path in enumerate(paths) if path in paths[:n]]:
        raise UserError("studies", f"'{twice[0]}' is given twice", "name each study once")
    names = [path.name for path in paths]
    for study in studies:
        label = study.path.name if names.count(study.path.name) == 1 else study.path
        for (classifier, shots), cells in study.table().groupby(["classifier", "shots"]):
            accuracy = cells.groupby("row")["top1"].mean()
            blocks[f"{label}, {classifier}, {shots} {'shot' if shots == 1 else 'shots'}"] = {
                str(row): float(v) for row, v in accuracy.items()
            }
    common = [row for row in next(iter(blocks.values())) if all(row in scores for scores in blocks.values())]
    if len(common) < 2:
        problem = f"the {len(blocks)} blocks of these studies have fewer than two rows in common"
        raise UserError("studies", problem, "leave out the studies that lack the rows")
    placed = [ranks({row: scores[row] for row in common}) for scores in blocks.values()]
    return Ranking(list(blocks), {row: [place[row] for place in placed] for row in common})


def verdict(study: StudyFolder) -> str | None:
    """Whether a study's backbone was good enough for its ranks to mean anything; None for one that was not judged."""
    adequacy = study.adequacy()
    if adequacy is None:
        return None
    cells = study.table()
    if adequacy.recognition not in cells:
        return adequacy.verdict({})
    shares = pd.to_numeric(cells[adequacy.recognition], errors="coerce").groupby(cells["row"]).mean().dropna()
    return adequacy.verdict({str(row): float(share) for row, share in shares.items()})


def print_ranking(ranking: Ranking, verdicts: Mapping[StudyFolder, str | None]) -> None:
    """Print the rows, best first, with their rank in each block, and what is to be thought of each study."""
    table = Table(title="rank by mean accuracy, 1 is best")
    table.add_column("row", no_wrap=True)
    table.add_column("mean rank", justify="right", no_wrap=True)
    for number in range(1, len(ranking.blocks) + 1):
        table.add_column(f"[{number}]", justify="right")
    for row, mean in ranking.means.items():
        text = f"{mean.mean:.1f}" + (f" ± {mean.half:.1f}" if mean.has_interval else "")
        table.add_row(row, text, *(f"{place:g}" for place in ranking.table[row]))
    console = PlainConsole()
    console.print(table)
    for number, block in enumerate(ranking.blocks, 1):
        console.print(f"[{number}] {block}")
    console.print("Mean ± 95 % interval over blocks; too narrow where blocks share images.")
    for study, sentence in verdicts.items():
        if sentence is not None:
            console.print(f"{study}: {sentence}")
