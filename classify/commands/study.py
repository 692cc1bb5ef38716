"""What `classify study` does."""

import shlex

from augment.commands.parsing import CommandParser
from augment.runtime.quiet import quiet
from classify.study.study import study


def study_command(args: list[str]) -> None:
    """Compare augmentation methods."""
    quiet()
    parser = CommandParser(prog="classify study", description="Compare augmentation methods by accuracy.")
    parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
    parser.add_function_arguments(study, skip={"command"})
    config = parser.instantiate_classes(parser.parse_args(args))
    del config["config"]
    study(**config, command=shlex.join(["classify", "study", *args]))
