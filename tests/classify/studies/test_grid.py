"""The cells of a study, from its settings."""

from collections import Counter
from typing import Any

import pytest

from augment.backbones.stable_diffusion import StableDiffusion
from augment.errors import UserError
from augment.mix.draws import Mixing
from augment.synthesis.plan import Plan
from augment.synthesis.synthesizer import Synthesizer
from classify.studies.grid import make_groups
from classify.studies.rows import Entry, Row, describe_row, make_contenders, make_rows
from classify.studies.settings import Study
from classify.train.batches import Batches

BATCHES, MIXING, PLAN = Batches(image_size=32), Mixing(), Plan(per_class=7)
MODEL = Synthesizer(StableDiffusion("digits"), prompt="a {class}")


def rows(*entries: str | Entry, shots: tuple[int, ...] = (1, 5)) -> list[Row]:
    return make_rows(entries, shots, BATCHES, MIXING, PLAN, MODEL)


def test_a_name_is_a_row_with_the_settings_of_the_study() -> None:
    none, fix = rows("none", "fix/chm")
    assert none == Row("none", None, (1, 5), {}, BATCHES, MIXING, PLAN, None)
    assert (fix.name, fix.method) == ("fix/chm", "fix/chm")


def test_an_entry_changes_what_it_names_and_no_more() -> None:
    (row,) = rows(
        Entry("sdedit", "strong", [5], {"strength": 0.9}, {"auto_augment": "rand-m9"}, {"sources": 2}, {"per_class": 3})
    )
    assert (row.name, row.method, row.shots) == ("strong", "sdedit", (5,))
    assert row.settings == {"strength": 0.9}
    assert row.batches == Batches(image_size=32, auto_augment="rand-m9")
    assert row.mixing == Mixing(sources=2)
    assert row.plan == Plan(per_class=3)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["nix/chm"], r"methods: row 'nix/chm' has an unknown method 'nix/chm'; choose from none, lin/0, "),
        ([Entry("nix", "mine")], r"methods: row 'mine' has an unknown method 'nix'"),
        ([Entry(name="x", batches={"colour": 1})], r"methods: row 'x', batches: there is no setting 'colour'"),
        ([Entry(name="x", batches={"hflip": 3})], r"row 'x', batches: .*\"hflip\".* 3 does not conform"),
        (
            [Entry("sdedit", "x", settings={"power": 1})],
            r"row 'x': settings.power: method 'sdedit' has no such setting",
        ),
        ([Entry(name="x", mixing={"sources": 0})], r"row 'x', mixing: .*\"sources\""),
        (
            [Entry(name="x", shots=[2])],
            r"row 'x': 2 shots are not among the study's shots \[1, 5\]; add them to `shots`",
        ),
        ([Entry("fix/0", "none")], r"methods: 'none' names real images alone, not 'fix/0'; give that row another"),
        (["none", "none"], r"methods: 'none' and 'none' cannot be told apart"),
        (["fix/0", Entry(name="fix-0")], r"methods: 'fix/0' and 'fix-0' cannot be told apart; give one another name"),
    ],
)
def test_a_wrong_row_is_named(entries: list[str | Entry], expected: str) -> None:
    with pytest.raises(UserError, match=expected) as error:
        rows(*entries)
    assert "\n" not in str(error.value)


def test_cells_that_would_share_a_file_are_refused() -> None:
    contenders = make_contenders({"r": {}, "small-r": {}}, (1, 5))
    with pytest.raises(
        UserError, match=r"'none, small-r, 1 shots, seed 0' and 'none-small, r, .*' cannot be told apart"
    ):
        make_groups(rows("none", Entry(name="none-small")), contenders, 1)


def test_classifiers_take_the_settings_of_fit() -> None:
    resnet, vit = make_contenders({"resnet": {"name": "test_resnet", "lr": 0.01}, "vit": {"shots": [5]}}, (1, 5))
    assert (resnet.shots, vit.shots) == ((1, 5), (5,))
    assert resnet.settings["lr"] == 0.01
    assert resnet.settings["optimizer"] == vit.settings["optimizer"] == "adamw"
    assert resnet.build(3).network.num_classes == 3


@pytest.mark.parametrize(
    ("classifiers", "expected"),
    [
        ({}, "classifiers: none given"),
        ({"a": {"learning_rate": 1}}, "classifiers: 'a': there is no setting 'learning_rate'"),
        ({"a": {"num_classes": 1}}, "classifiers: 'a': there is no setting 'num_classes'"),
        ({"a": {"lr": -1}}, "classifiers: 'a': .*-1 does not conform"),
        ({"a": {"shots": [3]}}, r"classifiers: 'a': 3 shots are not among the study's shots \[1, 5\]"),
    ],
)
def test_a_wrong_classifier_is_named(classifiers: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        make_contenders(classifiers, (1, 5))


def test_cells_are_all_combinations_and_share_their_sets() -> None:
    chosen = rows(
        "none",
        "fix/0",
        Entry("fix/0", "fix/0, jittered", batches={"color_jitter": 0.9}),
        Entry("fix/0", "fix/0, two", mixing={"sources": 1}),
        Entry("nin/0", shots=[5]),
    )
    groups = make_groups(chosen, make_contenders({"r": {}, "v": {"shots": [5]}}, (1, 5)), 2)
    cells = [cell for group in groups for cell in group.cells]
    assert len({cell.slug for cell in cells}) == len(cells) == 2 * (4 * 1 + 5 * 2)
    assert Counter(cell.shots for cell in cells) == {1: 8, 5: 20}
    for group in groups:
        assert {cell.synthetic for cell in group.cells} == {group.synthetic}
        assert len({(cell.shots, cell.seed) for cell in group.cells}) == 1
    made = [group.synthetic for group in groups if group.synthetic is not None]
    assert len(made) == len(set(made)) == 2 * (2 + 3)
    jittered = next(group for group in groups if group.cells[0].row.name == "fix/0")
    assert [str(cell) for cell in jittered.cells] == [
        "fix/0, r, 1 shots, seed 0",
        "fix/0, jittered, r, 1 shots, seed 0",
    ]


def test_a_study_that_was_stopped_is_balanced() -> None:
    groups = make_groups(rows("none", "fix/0"), make_contenders({"r": {}}, (1, 5)), 3)
    assert [group.cells[0].seed for group in groups] == sorted(group.cells[0].seed for group in groups)


def test_keys_and_names_are_those_of_studies_in_progress() -> None:
    """Both are hashes of what is described here; a change would run all cells of a study again."""
    fix, sdedit = rows("fix/0", Entry("sdedit", settings={"strength": 0.9}))
    null = {"strength": None, "gamma": None, "blend": None, "suffixes": None, "switch": None}
    assert describe_row(fix)["settings"] == null
    assert describe_row(sdedit)["settings"] == null | {"strength": 0.9}
    nothing: Any = None
    plan = Plan(per_class=4, shard_size=6, batch_size=3)
    study = Study("", nothing, {}, nothing, ["fix/0", Entry("sdedit", settings={"strength": 0.9})], plan=plan)
    names = [study.set_name(wanted) for row in study.rows if (wanted := row.wanted(2, 0)) is not None]
    assert names == ["fix-0-shots2-seed0", "sdedit-shots2-seed0-04dfee94"]
