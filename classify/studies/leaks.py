"""What does a study keep of its near-duplicates? Their names, and a sheet of the pairs for the report."""

from collections.abc import Sequence
from typing import Any

from augment.images.sources import ImageSource
from augment.runtime.files import write_json
from augment.runtime.json_files import read_object
from classify.studies.picture import grid
from classify.studies.results_folder import StudyFolder
from classify.train.leaks import Leak, Seen

FILE, FIGURE, SEEN_FIGURE = "near_duplicates.json", "near-duplicates", "seen-by-backbone"

SHOWN = 10
"""Pairs on the sheet."""


def keep_leaks(folder: StudyFolder, source: ImageSource, leaks: Sequence[Leak], seen: Sequence[Seen] = ()) -> None:
    """Write what was found, nothing included, so that a report tells what the last run saw."""
    pairs = [{"test": leak.test.name, "few_shot": leak.shot.name} for leak in leaks]
    known = [{"test": one.test.name, "trained_on": one.trained.name if one.trained else None} for one in seen]
    write_json(folder.path / FILE, {"pairs": pairs, "seen_by_backbone": known})
    if leaks:
        shown = leaks[:SHOWN]
        rows = [[source.image(leak.shot) for leak in shown], [source.image(leak.test) for leak in shown]]
        grid(rows).save(folder.path / folder.figure(FIGURE))
    if seen:
        grid([[source.image(one.test) for one in seen[:SHOWN]]]).save(folder.path / folder.figure(SEEN_FIGURE))


def kept_seen(folder: StudyFolder) -> list[tuple[str, str | None]]:
    """Test images that the backbone was trained on, each with the image of the pool that it is like, if it is known.

    Raises:
        UserError: If the file cannot be read.
    """
    return [(one["test"], one["trained_on"]) for one in _kept(folder).get("seen_by_backbone", [])]


def kept_leaks(folder: StudyFolder) -> list[tuple[str, str]]:
    """Test image and few-shot image of each near-duplicate that the study found.

    Raises:
        UserError: If the file cannot be read.
    """
    return [(pair["test"], pair["few_shot"]) for pair in _kept(folder).get("pairs", [])]


def _kept(folder: StudyFolder) -> dict[str, Any]:
    path = folder.path / FILE
    if not path.is_file():
        return {}
    return read_object(path, "output", "delete it and run the study again", {"pairs": list})
