"""What is refused before a study runs? Settings that contradict each other, and what a row or a classifier lacks."""

import os
from dataclasses import replace
from pathlib import Path

from augment.errors import UserError
from augment.measure.extractor import extractor_name
from augment.runtime.loggers import make_logger
from augment.runtime.place import check_folder
from classify.studies.results_folder import StudyFolder
from classify.studies.rows import Row
from classify.studies.settings import Study
from classify.studies.synthesis import recipe_of
from classify.studies.variants import changed_model
from classify.train.filter import load_filter

MOST_THREADS = 1024
"""Beyond that, and beyond the machine's own cores, threads crash the libraries that are asked for them."""


def check(study: Study, folder: StudyFolder) -> None:
    """Refuse what cannot be run, before anything is.

    Raises:
        UserError: Naming the setting, and its row and number of shots.
    """
    check_folder(folder.path, "output")
    check_numbers(study)
    rows, contenders = study.rows, study.contenders
    for row in rows:
        check_row(study, row)
    names = [row.name for row in rows]
    if study.reference is not None and study.reference not in names:
        raise UserError("reference", f"no row is named '{study.reference}'", f"choose from {', '.join(names)}")
    for contender in contenders:
        classifier = contender.build(len(study.source.classes))
        for side in {row.batches.image_size for row in rows}:
            classifier.check_size(side)
    extractors = study.extractors
    if not extractors or len({extractor_name(name) for name in extractors}) < len(extractors):
        raise UserError("extractor", f"{list(extractors)} must be names that differ", "name each once, one or more")
    make_logger(study.logger, folder.curves(""), "")  # a package that lacks is said before anything is run


def check_numbers(study: Study) -> None:
    """Refuse a study of nothing, and one that no machine can run.

    Raises:
        UserError: If it is one.
    """
    if not study.methods:
        raise UserError("methods", "no row is given", "name some, such as none, fix/0 and nin/chm")
    if not study.shots:
        raise UserError("shots", "no number of real images per class is given", "name one or more, such as 5")
    most = max(MOST_THREADS, os.cpu_count() or 1)
    for name, value in (("threads", study.threads), ("devices", study.devices)):
        if value > most:
            raise UserError(name, f"{value} are more than any machine runs at once", f"give at most {most}")
    if study.extractor_weights is not None and not Path(study.extractor_weights).is_file():
        raise UserError("extractor_weights", f"no file '{study.extractor_weights}'", "give the file of the weights")


def check_row(study: Study, row: Row) -> None:
    """Refuse a row that cannot be run with its batches, its backbone or its fewest shots.

    Raises:
        UserError: If it is one.
    """
    try:
        row.batches.check(row.method is not None, processes=1)
    except UserError as error:
        raise of_row(error, f"row '{row.name}'") from error
    shots = min(row.shots, default=0)
    wanted = row.wanted(shots, seed=0)
    if wanted is None:
        if row.filter is not None:
            raise UserError("methods", f"row '{row.name}' has a filter, but no synthetic images", "leave it out")
        return
    try:
        model = changed_model(study.synthesizer, row.variant)
        recipe_of(study, model, wanted, replace(row.plan, batch_size=1))  # fits or not, whatever the batch size
        if row.filter is not None:
            load_filter(row.filter)
    except UserError as error:
        raise of_row(error, f"row '{row.name}' at {shots} shots") from error


def of_row(error: UserError, row: str) -> UserError:
    """The same mistake, said of a row."""
    return UserError("methods", f"{row}: {error.argument}: {error.problem}", error.remedy)
