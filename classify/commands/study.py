"""What `classify study` does: it runs the study, and then tells what was found."""

import shlex

from augment.commands.parsing import CommandParser
from augment.runtime.quiet import quiet
from classify.report.report import write_report
from classify.studies.results_folder import StudyFolder
from classify.studies.settings import Study
from classify.studies.study import CellsFailed, study


def study_command(args: list[str]) -> None:
    """Compare augmentation methods."""
    quiet()
    parser = CommandParser(prog="classify study", description="Compare augmentation methods by accuracy.")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
    parser.add_class_arguments(Study)
    config = parser.instantiate_classes(parser.parse_args(args))
    del config["config"]
    settings = Study(**config)
    try:
        study(settings, shlex.join(["classify", "study", *args]))
    except CellsFailed:
        write_report(StudyFolder(settings.output))
        raise
    write_report(StudyFolder(settings.output))
