"""What does a study keep of its near-duplicates? Their names, and a sheet of the pairs for the report."""

from collections.abc import Sequence

from augment.images.sources import ImageSource
from augment.runtime.files import write_json
from augment.runtime.json_files import read_object
from classify.studies.picture import grid
from classify.studies.results_folder import StudyFolder
from classify.train.leaks import Leak

FILE, FIGURE = "near_duplicates.json", "near-duplicates"

SHOWN = 10
"""Pairs on the sheet."""


def keep_leaks(folder: StudyFolder, source: ImageSource, leaks: Sequence[Leak]) -> None:
    """Write what was found, nothing included, so that a report tells what the last run saw."""
    pairs = [{"test": leak.test.name, "few_shot": leak.shot.name} for leak in leaks]
    write_json(folder.path / FILE, {"pairs": pairs})
    if leaks:
        shown = leaks[:SHOWN]
        rows = [[source.image(leak.shot) for leak in shown], [source.image(leak.test) for leak in shown]]
        grid(rows).save(folder.path / folder.figure(FIGURE))


def kept_leaks(folder: StudyFolder) -> list[tuple[str, str]]:
    """Test image and few-shot image of each near-duplicate that the study found.

    Raises:
        UserError: If the file cannot be read.
    """
    path = folder.path / FILE
    if not path.is_file():
        return []
    found = read_object(path, "output", "delete it and run the study again", {"pairs": list})
    return [(pair["test"], pair["few_shot"]) for pair in found["pairs"]]
