"""What `augment push` does."""

from pathlib import Path

from augment.commands.hub import add_push_options, set_license, upload
from augment.commands.parsing import CommandParser
from augment.dataset.card import write_card
from augment.dataset.verify import verify


def push_command(args: list[str]) -> None:
    """Upload a dataset folder to the Hugging Face Hub, with its card, once every shard is found whole."""
    parser = CommandParser(prog="augment push", description=push_command.__doc__)
    parser.add_argument("folder", type=str, help="Dataset folder made by `augment synthesize`.")
    add_push_options(parser)
    config = parser.parse_args(args)
    folder = Path(config.folder)
    verify(folder)
    card = folder / "README.md"
    set_license(card if card.is_file() else write_card(folder), config.license)
    print(upload(folder, config.repo, "dataset", config.public))
