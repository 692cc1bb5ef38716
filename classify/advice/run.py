"""How does a search for advice go from its images to what was confirmed? Checked, searched, compared on fresh folds."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from augment.errors import UserError
from augment.images.near_duplicates import near_duplicate_groups
from augment.runtime.claim import check_outside, kept_to_this_process
from classify.advice.bench import Bench
from classify.advice.budget import HOUR, Budget, Pace
from classify.advice.candidates import first_candidates, plain
from classify.advice.confirmation import Confirmed, confirm
from classify.advice.folder import AdviceFolder
from classify.advice.folds import Fold, make_folds
from classify.advice.outcomes import Finalists, Outcome, finalists, outcomes_of
from classify.advice.preflight import check_images, check_settings, possible
from classify.advice.proposals import Proposals
from classify.advice.search import Search
from classify.advice.settings import Advisor
from classify.advice.space import NONE
from classify.studies.terminal import say


@dataclass(frozen=True)
class Findings:
    """What a finished search found.

    Attributes:
        advisor: Its settings, the space without what cannot be done.
        folder: Where all of it lies.
        outcomes: Of the candidates, in the order in which they were tried; real images alone come first.
        finalists: Who was compared on fresh folds.
        confirmed: What they scored there.
        folds: Of the search.
        left_out: What the space named and cannot be done, with the reason.
        groups: Near-duplicates that stand together: names of images, two or more in each group.
        seconds: That all of it took.
    """

    advisor: Advisor
    folder: AdviceFolder
    outcomes: list[Outcome]
    finalists: Finalists
    confirmed: Confirmed
    folds: int
    left_out: dict[str, str]
    groups: list[list[str]]
    seconds: float


def search_and_confirm(advisor: Advisor) -> Findings:
    """Search inside the few-shot set and compare the winner on fresh folds; what was finished before is kept.

    Raises:
        UserError: If a setting is wrong, the images cannot be dealt into folds, or the hours are too few for one
            candidate.
    """
    folder = AdviceFolder(advisor.output)
    check_outside(folder.path, advisor.source.folders)
    check_settings(advisor)
    check_images(advisor)
    folder.check(advisor.describe())
    searched, fresh, groups = folds_of(advisor)
    with kept_to_this_process(folder.path, "search for advice"):
        folder.claim(advisor.describe())
        budget = Budget(advisor.hours, folder)
        smallest = min(searched, key=lambda fold: fold.shots)
        space, left_out = possible(Bench(advisor, folder), smallest)
        folder.write_left_out(left_out)
        bench = Bench(replace(advisor, space=space), folder)
        proposals = Proposals(folder.journal, space, first_candidates(space), advisor.seed)
        asked = {"hours": advisor.hours, "most": advisor.candidates}
        before = folder.confirmed()
        if before is not None and asked.items() <= before.items():
            fresh = fresh[: before["fresh"]]  # all of it was done, and is read back
        else:
            pace = Pace(bench, searched[0])
            fresh = fresh[: pace.affordable(len(fresh), advisor.hours)]
            check_budget(bench, pace, len(searched), len(fresh))
            one = pace.seconds(plain(space, NONE), len(searched)) / 60
            say(
                f"{len(searched)} folds to search with, {len(fresh)} fresh ones for the end; a candidate takes about "
                f"{one:.1f} minutes, and longer with synthetic images"
            )
            Search(bench, proposals, searched, budget, pace, len(fresh), say).run()
        outcomes = outcomes_of(bench, proposals.decided(), searched)
        chosen = finalists(outcomes, len(searched))
        confirmed = confirm(bench, chosen.candidates, fresh, budget, say)
        budget.note()
        told = [described(one, outcomes[0]) for one in outcomes]
        folder.write_confirmed(confirmed.describe() | asked | {"search": told, "fresh": confirmed.folds})
    return Findings(bench.advisor, folder, outcomes, chosen, confirmed, len(searched), left_out, groups, budget.spent)


def folds_of(advisor: Advisor) -> tuple[list[Fold], list[Fold], list[list[str]]]:
    """The folds of the search, the fresh ones, and the near-duplicates that stand together.

    Raises:
        UserError: If the images of a class cannot be parted, or there is no fold.
    """
    members = advisor.few_shot
    images = [advisor.images.image(shot) for shot in members.all]
    groups = near_duplicate_groups(images)
    each = min(advisor.folds, advisor.most_shots)
    searched, fresh = make_folds(members, groups, each, (each * advisor.repeats, advisor.confirm), advisor.seed)
    named = [[members.all[place].name for place in group] for group in groups if len(group) > 1]
    if not searched or not fresh:
        raise UserError("shots", "these images can be dealt in one way only", "add images, so that folds differ")
    held = {shot.label for fold in searched for shot in fold.held}
    for label in members.labels:
        if label not in held:
            problem = f"the images of class '{members.classes[label]}' are nearly the same: none can be held out alone"
            raise UserError("source", problem, "add images that differ more")
    return searched, fresh, named


def check_budget(bench: Bench, pace: Pace, searched: int, fresh: int) -> None:
    """Refuse a budget in which nothing can be compared with real images alone.

    Raises:
        UserError: With the time that one candidate needs.
    """
    advisor = bench.advisor
    one = pace.seconds(plain(advisor.space, NONE), 1)
    needed = 2 * one * (searched + min(fresh, 2)) / HOUR
    if advisor.hours < needed:
        problem = (
            f"{advisor.hours:g} are too few: a candidate takes about {one * searched / 60:.1f} minutes "
            f"({searched} folds of {one:.0f} seconds)"
        )
        remedy = f"give {1.5 * needed:.2g} or more, or lower `steps`, `repeats` or `folds`"
        raise UserError("hours", problem, remedy)


def described(outcome: Outcome, real: Outcome) -> dict[str, Any]:
    """What became of a candidate, as JSON holds it."""
    return {
        "name": outcome.candidate.name,
        "settings": outcome.candidate.params,
        "scores": [asdict(score) for score in outcome.scores.values()],
        "excess_log_loss": outcome.excess(real.scores) if outcome.scores else None,
        "stopped": outcome.stopped,
        "dropped": outcome.dropped,
    }
