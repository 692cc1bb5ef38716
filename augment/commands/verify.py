"""What `augment verify` does."""

import sys
from pathlib import Path

from augment.commands.flags import running
from augment.commands.parsing import CommandParser
from augment.dataset.verify import UnfinishedError, verify

UNFINISHED = 3
"""Exit code for a dataset that is not finished; one that is damaged has 1."""


def verify_command(args: list[str]) -> None:
    """Check a dataset folder."""
    codes = f"Exit code: 0 if all is good, {UNFINISHED} if the dataset is not finished yet, 1 otherwise."
    parser = CommandParser(prog="augment verify", description=f"{verify.__doc__}\n{codes}")
    parser.add_argument("folder", type=str, help="Dataset folder made by `augment synthesize`.")
    folder = Path(parser.parse_args(args).folder)
    try:
        print(f"{folder}: {verify(folder)} samples, all shards as described in dataset.json")
    except UnfinishedError as error:
        print(f"augment verify: {running.say(error)}", file=sys.stderr)
        raise SystemExit(UNFINISHED) from None
