"""What `classify advise` does: it asks for advice, and goes on with it if it is told to."""

import json
import shlex

from augment.cli import main as augment
from augment.commands import known_families  # noqa: F401
from augment.commands.parsing import CommandParser, add_switch
from augment.runtime.quiet import quiet
from classify.advice.settings import Advisor
from classify.commands.fit import fit_command
from classify.report.advise import advise


def advise_command(args: list[str]) -> None:
    """Say whether augmentation is worth it, and which."""
    quiet()
    parser = CommandParser(
        prog="classify advise",
        description="Find out whether augmentation is worth it for a few images, and which; no test image is touched.",
    )
    parser.add_argument("--config", action="config", help="YAML file with any of the options below.")
    parser.add_class_arguments(Advisor)
    add_switch(parser, "then", "Go on: make the dataset and the classifier that are recommended.")
    parsed = parser.parse_args(args)
    written = json.loads(parser.dump(parsed, format="json"))
    given = {"source": written["source"], "backbone": written["synthesizer"]["init_args"]["backbone"]}
    config = parser.instantiate_classes(parsed)
    then = config.then
    del config["config"], config["then"]
    found = advise(Advisor(**config), given, shlex.join(["classify", "advise", *args]))
    if then:
        for command in found.commands:
            run(command)


def run(command: str) -> None:
    """Run a recommended command in this process."""
    program, name, *words = shlex.split(command)
    print(command, flush=True)
    if program == "augment":
        augment([name, *words])
    else:
        fit_command(words)
