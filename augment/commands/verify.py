"""What `augment verify` does."""

from pathlib import Path

from augment.commands.parsing import CommandParser
from augment.dataset.verify import verify


def verify_command(args: list[str]) -> None:
    """Check a dataset folder."""
    parser = CommandParser(prog="augment verify", description=verify.__doc__)
    parser.add_argument("folder", type=str, help="Dataset folder made by `augment synthesize`.")
    folder = Path(parser.parse_args(args).folder)
    print(f"{folder}: {verify(folder)} samples, all shards as described in dataset.json")
