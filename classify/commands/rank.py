"""What `classify rank` does."""

from augment.commands.parsing import CommandParser
from classify.report.rank import print_ranking, rank, verdict
from classify.studies.results_folder import StudyFolder


def rank_command(args: list[str]) -> None:
    """Rank rows over several studies."""
    parser = CommandParser(prog="classify rank", description="Mean rank of each row over several studies.")
    parser.add_argument("studies", nargs="+", help="Folders written by `classify study`.")
    studies = [StudyFolder(folder) for folder in parser.parse_args(args).studies]
    print_ranking(rank(studies), {study: verdict(study) for study in studies})
