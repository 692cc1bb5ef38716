"""What `classify rank` does."""

from pathlib import Path

from augment.commands.parsing import CommandParser
from classify.report.rank import print_ranking, rank, verdict


def rank_command(args: list[str]) -> None:
    """Rank rows over several studies."""
    parser = CommandParser(prog="classify rank", description="Mean rank of each row over several studies.")
    parser.add_argument("studies", nargs="+", help="Folders written by `classify study`.")
    studies = [Path(folder) for folder in parser.parse_args(args).studies]
    print_ranking(rank(studies), {folder: verdict(folder) for folder in studies})
