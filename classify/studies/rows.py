"""What is compared in a study? Rows, ways to train with all their settings, and the classifiers that they train."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from jsonargparse.typing import PositiveInt

from augment.errors import UserError
from augment.mix.draws import Mixing
from augment.mix.registry import METHODS, MethodName, configure, describe
from augment.runtime.settings import checked
from augment.synthesis.plan import Plan
from augment.synthesis.synthesizer import Synthesizer
from classify.studies.variants import Variant, make_variant
from classify.train.batches import Batches
from classify.train.classifier import Classifier

T = TypeVar("T")

FIRST_SETTINGS = ("strength", "gamma", "blend", "suffixes", "switch")
"""What could be set of methods when keys of cells were first made; they hold null for each of these not given."""


@dataclass(frozen=True)
class Entry:
    """A row of the study that is more than a method's name.

    Args:
        method: The method that makes the synthetic images; `none` is the classifier on real images alone.
        name: The row is called this; by default it has the method's name.
        shots: The row is run at these numbers of shots only; null is all of the study's.
        settings: The method's settings that differ from its authors', such as `{strength: 0.3}`.
        batches: The settings that differ from the study's `batches`, such as `{auto_augment: rand-m9-mstd0.5}`.
        mixing: The settings that differ from the study's `mixing`.
        plan: The settings that differ from the study's `plan`.
        filter: An extractor that drops the synthetic images whose class it does not recognise; null keeps all.
        inversion: The settings that differ from those of the study's inversion, such as `{forward_steps: 3}`.
        sampling: The `steps` and the `guidance` that differ from the study's synthesizer.
        tuned: The backbone is tuned to the few-shot set of each seed first, as `augment tune` does; the settings that
            differ from its own, `{}` for none. Null uses the backbone as it is.
        backbone: Makes the row's images in place of the study's, with the settings of its preset: a preset, a name on
            the Hub, or a folder. `diffusemix` needs one that edits, such as `instruct-pix2pix`.
    """

    method: str = "none"
    name: str | None = None
    shots: list[PositiveInt] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    batches: dict[str, Any] = field(default_factory=dict)
    mixing: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    filter: str | None = None
    inversion: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    tuned: dict[str, Any] | None = None
    backbone: str | None = None


@dataclass(frozen=True)
class WantedSet:
    """What decides a synthetic dataset, shared by all rows and classifiers that train on it."""

    method: MethodName
    shots: int
    seed: int
    settings: dict[str, Any] = field(hash=False)
    mixing: Mixing
    plan: Plan
    variant: Variant = Variant()  # noqa: RUF009  (frozen)


@dataclass(frozen=True)
class Row:
    """One way to train, with all its settings."""

    name: str
    method: MethodName | None
    shots: tuple[int, ...]
    settings: dict[str, Any]
    batches: Batches
    mixing: Mixing
    plan: Plan
    filter: str | None
    variant: Variant = Variant()  # noqa: RUF009  (frozen)

    def wanted(self, shots: int, seed: int) -> WantedSet | None:
        """The synthetic dataset that it trains on beside the real images; None for real images alone."""
        if self.method is None:
            return None
        return WantedSet(self.method, shots, seed, self.settings, self.mixing, self.plan, self.variant)


@dataclass(frozen=True)
class Contender:
    """One classifier of a study: `Classifier`'s arguments, and the shots that it is trained at."""

    name: str
    settings: dict[str, Any]
    shots: tuple[int, ...]

    def build(self, num_classes: int) -> Classifier:
        """A new classifier, its weights drawn from the global generator."""
        return Classifier(num_classes, **self.settings)


def slug(name: str) -> str:
    """The name as part of a file's name."""
    return re.sub(r"[^\w.+-]", "-", name)


def make_rows(
    entries: Sequence[str | Entry],
    shots: Sequence[int],
    batches: Batches,
    mixing: Mixing,
    plan: Plan,
    model: Synthesizer,
) -> list[Row]:
    """The rows of a study, with what each overrides.

    Raises:
        UserError: If a method is unknown, an override is no setting, or two rows have one name.
    """
    rows = []
    for entry in entries:
        given = Entry(entry) if isinstance(entry, str) else entry
        name = given.name or given.method
        if given.method != "none" and given.method not in METHODS:
            problem = f"row '{name}' has an unknown method '{given.method}'"
            raise UserError("methods", problem, f"choose from none, {', '.join(METHODS)}")
        if name == "none" and given.method != "none":
            problem = f"'none' names real images alone, not '{given.method}'"
            raise UserError("methods", problem, "give that row another name")
        rows.append(
            Row(
                name,
                None if given.method == "none" else given.method,
                some_of(shots, given.shots, "methods", f"row '{name}': "),
                settings_of(given, name),
                override(batches, given.batches, f"row '{name}', batches"),
                override(mixing, given.mixing, f"row '{name}', mixing"),
                override(plan, given.plan, f"row '{name}', plan"),
                given.filter,
                make_variant(model, given.inversion, given.tuned, name, given.backbone, given.sampling),
            )
        )
    unique([row.name for row in rows], "methods")
    return rows


def settings_of(entry: Entry, name: str) -> dict[str, Any]:
    """The settings that a row gives its method, with the types that the method takes.

    Raises:
        UserError: If the method has no such setting, or cannot take its value.
    """
    if entry.method == "none":
        if entry.settings or entry.inversion or entry.sampling or entry.tuned is not None or entry.backbone is not None:
            raise UserError("methods", f"row '{name}' has settings, but no method", "leave the settings out")
        return {}
    try:
        in_force = describe(configure(entry.method, entry.settings))
    except UserError as error:
        raise UserError("methods", f"row '{name}': {error.argument}: {error.problem}", error.remedy) from error
    return {setting: in_force[setting] for setting, value in entry.settings.items() if value is not None}


def override(base: T, changes: dict[str, Any], where: str) -> T:
    """The settings with some of them changed, parsed as the command would.

    Raises:
        UserError: If one is no setting, or has a value that it cannot take.
    """
    if not changes:
        return base
    try:
        return type(base)(**checked(type(base), {**vars(base), **changes}, where))
    except UserError as error:
        raise UserError("methods", f"{error.argument}: {error.problem}", error.remedy) from error


def make_contenders(classifiers: Mapping[str, Mapping[str, Any]], shots: Sequence[int]) -> list[Contender]:
    """The classifiers of a study.

    Raises:
        UserError: If there is none, or one has a setting that `Classifier` does not have.
    """
    if not classifiers:
        raise UserError("classifiers", "none given", "name at least one, such as {resnet: {name: resnet18}}")
    unique(list(classifiers), "classifiers")
    contenders = []
    for name, given in classifiers.items():
        settings = dict(given)
        chosen = some_of(shots, settings.pop("shots", None), "classifiers", f"'{name}': ")
        try:
            settings = checked(Classifier, settings, f"'{name}'", skip=["num_classes"])
        except UserError as error:
            raise UserError("classifiers", f"{error.argument}: {error.problem}", error.remedy) from error
        contenders.append(Contender(name, settings, chosen))
    return contenders


def some_of(shots: Sequence[int], chosen: Sequence[int] | None, argument: str, where: str) -> tuple[int, ...]:
    """The chosen of the study's numbers of shots; all of them for None."""
    if chosen is not None and not chosen:
        raise UserError(argument, f"{where}an empty list of shots trains nothing", "name some, or leave it out")
    unknown = sorted(set(chosen or ()) - set(shots))
    if unknown:
        problem = f"{where}{unknown[0]} shots are not among the study's shots {list(shots)}"
        raise UserError(argument, problem, "add them to `shots`")
    return tuple(shots) if chosen is None else tuple(chosen)


def unique(names: Sequence[str], argument: str) -> None:
    """Refuse names that would share a file."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(slug(name), name)) != name or names.count(name) > 1:
            raise UserError(argument, f"'{other}' and '{name}' cannot be told apart", "give one another name")


def describe_row(row: Row) -> dict[str, Any]:
    """What decides the results of a row's cells, beside the number of shots."""
    files = {} if row.method is None else configure(row.method, row.settings).identities()
    described = asdict(row) | {"settings": as_noted(row.settings | files), "variant": row.variant.describe()}
    del described["name"], described["shots"]
    if row.variant == Variant():  # as rows were described before there were any
        del described["variant"]
    return described


def as_noted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a method as keys of cells and names of sets have always held them."""
    return dict.fromkeys(FIRST_SETTINGS) | dict(settings)
