"""Which trainings does a study consist of? Rows × shots × seeds × classifiers: pure functions of its settings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveInt

from augment.errors import UserError
from augment.mix.draws import Mixing
from augment.mix.registry import METHODS, MethodName, configure, describe
from augment.synthesize.plan import Plan
from classify.train.batches import Batches
from classify.train.classifier import Classifier

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A row of the study that is more than a method's name.

    Args:
        method: Makes the synthetic images; `none` is the classifier on real images alone.
        name: Of the row; by default the method's.
        shots: The row is run at these numbers of shots only; null is all of the study's.
        settings: Of the method, such as `{strength: 0.3}`.
        batches: What differs from the study's `batches`, such as `{auto_augment: rand-m9-mstd0.5}`.
        mixing: What differs from the study's `mixing`.
        plan: What differs from the study's `plan`.
        filter: Extractor that drops the synthetic images whose class it does not recognise; null keeps all.
    """

    method: str = "none"
    name: str | None = None
    shots: list[PositiveInt] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    batches: dict[str, Any] = field(default_factory=dict)
    mixing: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    filter: str | None = None


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


@dataclass(frozen=True)
class Contender:
    """One classifier of a study: `Classifier`'s arguments, and the shots that it is trained at."""

    name: str
    settings: dict[str, Any]
    shots: tuple[int, ...]

    def build(self, num_classes: int) -> Classifier:
        """A new classifier, its weights drawn from the global generator."""
        return Classifier(num_classes, **self.settings)


@dataclass(frozen=True)
class SyntheticSet:
    """A synthetic dataset, shared by all rows and classifiers that train on it."""

    method: MethodName
    shots: int
    seed: int
    settings: dict[str, Any]
    mixing: Mixing
    plan: Plan


@dataclass(frozen=True)
class Cell:
    """One training and its test."""

    row: Row
    shots: int
    seed: int
    contender: Contender

    @property
    def slug(self) -> str:
        """Name of its file."""
        return f"{slug(self.row.name)}-{slug(self.contender.name)}-shots{self.shots}-seed{self.seed}"

    @property
    def synthetic(self) -> SyntheticSet | None:
        """What it trains on beside the real images."""
        row = self.row
        if row.method is None:
            return None
        return SyntheticSet(row.method, self.shots, self.seed, row.settings, row.mixing, row.plan)

    def __str__(self) -> str:
        return f"{self.row.name}, {self.contender.name}, {self.shots} shots, seed {self.seed}"


@dataclass(frozen=True)
class Group:
    """The cells that share a synthetic set: the unit that a worker takes."""

    synthetic: SyntheticSet | None
    cells: tuple[Cell, ...]


def slug(name: str) -> str:
    """The name as part of a file's name."""
    return re.sub(r"[^\w.+-]", "-", name)


def make_rows(
    entries: Sequence[str | Entry], shots: Sequence[int], batches: Batches, mixing: Mixing, plan: Plan
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
            raise UserError(
                f"methods: row '{name}' has an unknown method '{given.method}'; choose from none, {', '.join(METHODS)}"
            )
        if name == "none" and given.method != "none":
            raise UserError(
                f"methods: 'none' names real images alone, not '{given.method}'; give that row another name"
            )
        rows.append(
            Row(
                name,
                None if given.method == "none" else given.method,
                some_of(shots, given.shots, f"methods: row '{name}'"),
                settings_of(given, name),
                override(batches, given.batches, f"methods: row '{name}', batches"),
                override(mixing, given.mixing, f"methods: row '{name}', mixing"),
                override(plan, given.plan, f"methods: row '{name}', plan"),
                given.filter,
            )
        )
    unique([row.name for row in rows], "methods")
    return rows


def settings_of(entry: Entry, name: str) -> dict[str, Any]:
    """The settings of a row's method in force, its authors' values included; none without a method.

    Raises:
        UserError: If the method has no such setting, or cannot take its value.
    """
    if entry.method == "none":
        if entry.settings:
            raise UserError("methods", f"row '{name}' has settings, but no method", "leave the settings out")
        return {}
    try:
        return describe(configure(entry.method, entry.settings))
    except UserError as error:
        raise UserError("methods", f"row '{name}': {error.argument}: {error.problem}", error.remedy) from error


def make_contenders(classifiers: Mapping[str, Mapping[str, Any]], shots: Sequence[int]) -> list[Contender]:
    """The classifiers of a study.

    Raises:
        UserError: If there is none, or one has a setting that `Classifier` does not have.
    """
    if not classifiers:
        raise UserError("classifiers: none given; name at least one, such as {resnet: {name: resnet18}}")
    unique(list(classifiers), "classifiers")
    contenders = []
    for name, given in classifiers.items():
        settings = dict(given)
        chosen = some_of(shots, settings.pop("shots", None), f"classifiers: '{name}'")
        contenders.append(Contender(name, checked(Classifier, settings, f"classifiers: '{name}'"), chosen))
    return contenders


def some_of(shots: Sequence[int], chosen: Sequence[int] | None, where: str) -> tuple[int, ...]:
    """The chosen of the study's numbers of shots; all of them for None."""
    unknown = sorted(set(chosen or ()) - set(shots))
    if unknown:
        raise UserError(f"{where}: {unknown[0]} shots are not among the study's shots {list(shots)}; add them there")
    return tuple(shots) if chosen is None else tuple(chosen)


def unique(names: Sequence[str], argument: str) -> None:
    """Refuse names that would share a file."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(slug(name), name)) != name or names.count(name) > 1:
            raise UserError(f"{argument}: '{other}' and '{name}' cannot be told apart; give one another name")


def override(base: T, changes: dict[str, Any], where: str) -> T:
    """The settings with some of them changed, parsed as the command would."""
    if not changes:
        return base
    return type(base)(**checked(type(base), {**vars(base), **changes}, where))


def checked(kind: type, settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Arguments of a class, parsed by its type hints, with its defaults for what is not given.

    Raises:
        UserError: If one is not among the class's arguments, or has a value that it cannot take.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "settings", skip={"num_classes"})
    try:
        parsed = parser.parse_object({"settings": settings})
    except ArgumentError as error:
        words = str(error).replace("Group 'settings' does not accept option", "there is no setting").split()
        line = " ".join(words).replace("settings.", "")
        raise UserError(f"{where}: {line}") from error
    return dict(parsed.settings.as_dict())


def make_groups(rows: Sequence[Row], contenders: Sequence[Contender], seeds: NonNegativeInt) -> list[Group]:
    """All cells, seed by seed so that a study that was stopped is balanced, those that share a set together.

    Raises:
        UserError: If two cells would share a file.
    """
    groups: dict[str, list[Cell]] = {}
    files: dict[str, Cell] = {}
    for seed in range(seeds):
        for shots in sorted({number for row in rows for number in row.shots}):
            for row in rows:
                for contender in contenders:
                    if shots in row.shots and shots in contender.shots:
                        cell = Cell(row, shots, seed, contender)
                        if (other := files.setdefault(cell.slug, cell)) is not cell:
                            raise UserError(f"methods: '{other}' and '{cell}' cannot be told apart; rename a row")
                        # Cells without a set have nothing to share, and may run side by side.
                        shared = cell.slug if cell.synthetic is None else repr((seed, shots, cell.synthetic))
                        groups.setdefault(shared, []).append(cell)
    return [Group(cells[0].synthetic, tuple(cells)) for cells in groups.values()]


def describe_row(row: Row) -> dict[str, Any]:
    """What decides the results of a row's cells, beside the number of shots."""
    described = asdict(row)
    del described["name"], described["shots"]
    return described
