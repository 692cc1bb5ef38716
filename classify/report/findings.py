"""What is a report made from? Everything that a study's folder says, read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from augment.measure.adequacy import Adequacy
from classify.report.summary import Block, Results, Summary, summarize
from classify.studies.results_folder import LastRun, StudyFolder


@dataclass(frozen=True)
class Findings:
    """A study's folder, read.

    Attributes:
        folder: Where the report goes.
        run: What was asked for.
        config: What decides the study's numbers.
        results: Of the finished cells.
        adequacy: Of the backbone; None if it was not judged.
    """

    folder: StudyFolder
    run: LastRun
    config: dict[str, Any]
    results: Sequence[Results]
    adequacy: Adequacy | None

    @cached_property
    def summary(self) -> Summary:
        """Means and differences."""
        return summarize(self.results, self.run.reference)

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of each row's images whose class is recognised, by the extractor that judged the backbone."""
        found: dict[str, list[float]] = {}
        for cell in self.results:
            if self.adequacy is not None and self.adequacy.recognition in cell["set"]:
                found.setdefault(cell["row"], []).append(cell["set"][self.adequacy.recognition])
        return {row: sum(values) / len(values) for row, values in found.items()}

    @property
    def missing(self) -> int:
        """Cells that were asked for and are not finished."""
        return len(self.run.cells) - len(self.results)

    def cells(self, block: Block) -> list[Results]:
        """The cells of a block."""
        return [c for c in self.results if (c["classifier"], c["shots"]) == (block.classifier, block.shots)]


def read_findings(folder: StudyFolder) -> Findings:
    """Read a study's folder; what its cells and its verdict did not hold in former versions may be missing.

    Raises:
        UserError: If it is none, or one of its files lacks what a report needs.
    """
    run = folder.last_run()
    return Findings(folder, run, folder.description(), folder.results(run), folder.adequacy())
