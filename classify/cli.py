"""The `classify` command: train on real plus synthetic images, and compare augmentation methods."""

from collections.abc import Sequence

from augment.cli import run
from classify.commands.pages import PAGES

USAGE = """usage: classify COMMAND [--config FILE] [options]

Train a timm classifier on a few real images plus synthetic shards, and compare augmentation methods by accuracy.

commands:
  fit     train one classifier for a fixed number of steps and test it once
  study   compare augmentation methods over several seeds; writes a table and a report
  advise  find out whether augmentation is worth it for your images, and which; no test images needed
  rank    mean rank of each method over several studies
  push    upload a trained classifier to the Hugging Face Hub, with a card

classify COMMAND --help explains a command's options; --print_config prints its configuration as YAML."""

COMMANDS = {
    "fit": "classify.commands.fit:fit_command",
    "study": "classify.commands.study:study_command",
    "advise": "classify.commands.advise:advise_command",
    "rank": "classify.commands.rank:rank_command",
    "push": "classify.commands.push:push_command",
}


def main(args: Sequence[str] | None = None) -> None:
    """Run one command; a user's mistake is printed as one line and exits with 1."""
    run(COMMANDS, PAGES, USAGE, "classify", args)
