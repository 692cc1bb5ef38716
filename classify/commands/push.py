"""What `classify push` does."""

from pathlib import Path

from augment.commands.hub import add_push_options, set_license, upload
from augment.commands.parsing import CommandParser
from classify.train.card import write_card


def push_command(args: list[str]) -> None:
    """Upload a trained classifier to the Hugging Face Hub, with its card."""
    parser = CommandParser(prog="classify push", description=push_command.__doc__)
    parser.add_argument("folder", type=str, help="Output folder of `classify fit`.")
    add_push_options(parser)
    config = parser.parse_args(args)
    folder = Path(config.folder)
    card = folder / "classifier" / "README.md"
    set_license(card if card.is_file() else write_card(folder), config.license)
    print(upload(folder / "classifier", config.repo, "model", config.public))
