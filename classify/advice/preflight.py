"""What is refused before a search begins, and which parts of the space cannot be done at all?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from augment.errors import UserError
from augment.mix.registry import METHODS
from augment.runtime.place import check_folder
from classify.advice.bench import Bench
from classify.advice.candidates import candidate_of, parameters, plain
from classify.advice.folds import Fold
from classify.advice.settings import Advisor
from classify.advice.space import NONE, Space
from classify.studies.rows import make_contenders

SAFE = (
    "what is known to be safe without it: real images alone with RandAugment, `classify fit --policy rand-m9-mstd0.5`"
)


def check_images(advisor: Advisor) -> None:
    """Refuse images that no fold can be made of.

    Raises:
        UserError: Naming the class.
    """
    counts = advisor.per_class
    if len(counts) < 2:
        raise UserError("source", "images of one class leave nothing to classify", "add images of another class")
    name, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < 2 or advisor.shots == 1:
        problem = f"class '{name}' has {fewest} image: none can be held out, so cross-validation is impossible"
        if fewest >= 2:
            problem = "1 image per class: none can be held out, so cross-validation is impossible"
        raise UserError("source" if fewest < 2 else "shots", problem, f"give two or more per class; {SAFE}")


def check_settings(advisor: Advisor) -> None:
    """Refuse settings that contradict each other, and a space of nothing.

    Raises:
        UserError: Naming the setting.
    """
    check_folder(advisor.output_path, "output")
    if advisor.folds < 2:
        raise UserError("folds", "1 fold would hold out all images", "give 2 or more")
    named = [("methods", method) for method in advisor.space.methods]
    named += [("settings", method) for method in advisor.space.settings]
    if unknown := [(where, method) for where, method in named if method not in METHODS]:
        raise UserError(f"space.{unknown[0][0]}", f"there is no '{unknown[0][1]}'", f"choose from {', '.join(METHODS)}")
    for name, choices in lists(advisor.space):
        if not choices:
            raise UserError(f"space.{name}", "an empty list leaves nothing to choose", "give the plain value alone")
    (contender,) = make_contenders({"classifier": advisor.classifier}, shots=[2])
    contender.build(len(advisor.images.classes)).check_size(advisor.batches.image_size)


def lists(space: Space) -> Iterator[tuple[str, Sequence[Any]]]:
    """The lists of values that must not be empty."""
    names = ("sources", "concentration", "steps", "guidance", "forward_steps", "per_class", "share")
    yield from ((name, getattr(space, name)) for name in names)
    yield "tunings", list(space.tunings)
    for method, settings in space.settings.items():
        yield from ((f"settings.{method}.{name}", choices) for name, choices in settings.items())


def possible(bench: Bench, fold: Fold) -> tuple[Space, dict[str, str]]:
    """The part of the space that can be done here, and the reasons against the rest.

    Policies and methods are tried in their plain form; then every other value with the first method that takes it.

    Args:
        bench: With the whole space.
        fold: The one with the fewest training images.
    """
    space, reasons = bench.advisor.space, {}
    policies, methods = dict(space.policies), list(space.methods)
    for policy in space.policies:
        if reason := reason_against(bench, fold, {"policy": policy}):
            reasons[policy] = reason
            del policies[policy]
    for method in space.methods:
        if reason := reason_against(bench, fold, {"method": method}):
            reasons[method] = reason
            methods.remove(method)
    space = replace(space, policies=policies, methods=methods)
    for name in ("sources", "steps", "guidance", "forward_steps", "tunings"):
        space, refused = without_impossible(replace(bench, advisor=replace(bench.advisor, space=space)), fold, name)
        reasons |= refused
    return space, reasons


def without_impossible(bench: Bench, fold: Fold, name: str) -> tuple[Space, dict[str, str]]:
    """The space without the values of one setting that cannot be done, and the reasons."""
    space = bench.advisor.space
    parameter = {"tunings": "tuning"}.get(name, name)
    method = next((one for one in space.methods if parameter in dict(parameters(space, one))), None)
    choices: Any = getattr(space, name)
    if method is None:
        return space, {}
    kept, reasons = list(choices)[:1], {}
    for value in list(choices)[1:]:
        if name == "guidance" and value not in (None, 1) and bench.advisor.synthesizer.backbone.prompts == "none":
            reason = "the backbone reads no prompt that could guide it"
        else:
            reason = reason_against(bench, fold, {"method": method, parameter: value})
        if reason:
            reasons[f"{parameter} {value}"] = reason
        else:
            kept.append(value)
    left: Any = {one: choices[one] for one in kept} if isinstance(choices, dict) else kept
    changed: dict[str, Any] = {name: left}
    return replace(space, **changed), reasons


def reason_against(bench: Bench, fold: Fold, given: dict[str, Any]) -> str:
    """Why a candidate with these values cannot be run; empty if it can."""
    plain_one = plain(bench.advisor.space, given.get("method", NONE), given.get("policy", NONE))
    values = plain_one.params | given
    try:
        bench.check(candidate_of(bench.advisor.space, lambda name, choices: values[name]), fold)
    except UserError as error:
        return why(error)
    return ""


def why(error: UserError) -> str:
    """What a mistake says, without the row that it was met in."""
    while isinstance(error.__cause__, UserError):
        error = error.__cause__
    return f"{error.problem} ({error.remedy})"
