"""A mistake that the library tells in its own words names the flags of the command that was typed, and no others."""

import ast
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Job

import augment.cli
import classify.cli
from augment.commands.flags import Flags, flags_of, mistake_in, one_line
from augment.commands.pages import BACKBONES, PAGES
from augment.errors import UserError
from classify.commands.pages import PAGES as OF_CLASSIFY

Fails = Callable[..., str]
WITH_PARSER = [page for page in (*PAGES.values(), *OF_CLASSIFY.values()) if page is not BACKBONES]


@pytest.mark.parametrize(
    ("command", "name", "flag"),
    [
        ("augment synthesize", "shots", "shots"),
        ("augment synthesize", "mixing.sources", "data.mixing.sources"),
        ("augment synthesize", "plan.batch_size", "batch_size"),  # data.plan.batch_size takes its value from there
        ("augment synthesize", "inversion.batch_size", "model.inversion.batch_size"),
        ("augment synthesize", "steps", "model.steps"),
        ("augment synthesize", "source.path", "data.source.path"),
        ("augment synthesize", "settings.strength", "data.settings.strength"),
        ("augment synthesize", "backbone.null_class", "model.backbone.null_class"),
        ("augment synthesize", "synthetic", None),
        ("augment synthesize", "model.image_size", None),
        ("augment explore", "source.path", "source.path"),
        ("augment explore", "grid.columns", "grid.columns"),
        ("augment explore", "what", None),  # is typed without a flag
        ("augment pretrain", "data.image_size", "model.image_size"),
        ("augment pretrain", "model.channels", "model.channels"),
        ("augment pretrain", "shots", None),
        ("augment push", "folder", None),
        ("augment push", "repo", "repo"),
        ("classify fit", "shots", "data.shots"),
        ("classify fit", "skip_bad", "skip_bad"),
        ("classify fit", "batches.crop_scale", "data.batches.crop_scale"),
        ("classify fit", "overwrite", None),
        ("classify study", "plan.per_class", "plan.per_class"),
        ("classify study", "source.test_path", "source.test_path"),
        ("classify study", "overwrite", None),
        ("classify study", "inversion.steps", None),
        ("classify rank", "studies", None),
    ],
)
def test_a_librarys_name_is_the_commands_flag(
    command: str, name: str, flag: str | None, parsers: dict[str, Any]
) -> None:
    assert parsers[command].flags().find(name) == flag


@cache
def named_in_errors() -> frozenset[str]:
    """Every name in backticks in what the packages tell a user."""
    names: set[str] = set()
    for path in sorted([*(ROOT / "augment").rglob("*.py"), *(ROOT / "classify").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError":
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                names |= set(re.findall(r"`([a-z_][\w.]*)`", " ".join(text for text in texts if isinstance(text, str))))
    return frozenset(names)


@pytest.mark.parametrize("command", [page.command for page in WITH_PARSER])
def test_no_command_names_a_flag_that_it_does_not_have(command: str, parsers: dict[str, Any]) -> None:
    flags, accepted = parsers[command].flags(), set(re.findall(r"--([\w.]+)", parsers[command].format_help()))
    for name in named_in_errors():
        flag = flags.find(name)
        if flag is not None and flag not in accepted:  # then it belongs to a class or a mapping that the user chooses
            assert any(flag.startswith(f"{owner}.") and owner in accepted for owner in flags.open), flag


def test_the_shortest_option_wins_and_other_words_stay() -> None:
    options = {"output": None, "model.steps": 50, "model.inversion.steps": 50, "data.settings": {}}
    flags = flags_of(options, positionals=(), links={})
    assert flags.spell("set `steps` or `inversion.steps`, not `fp32`") == (
        "set --model.steps or --model.inversion.steps, not `fp32`"
    )
    assert flags.spell("`settings.a.b` in `data.settings`") == "--data.settings.a.b in --data.settings"
    assert Flags({}).spell("raise `shots`") == "raise `shots`"


def test_a_mistake_is_one_line_of_three_parts() -> None:
    error = UserError("shots", "class 'a'\nhas 2 images", "lower `shots`")
    assert one_line(error, Flags({"data.shots": "data.shots"})) == "shots: class 'a' has 2 images; lower --data.shots"


def test_a_mistake_is_found_below_what_was_raised_from_it() -> None:
    mistake, outer, wrapped = UserError("a", "b", "c"), ValueError("outer"), ValueError("wrapped")
    wrapped.__cause__, outer.__cause__ = mistake, wrapped
    assert mistake_in(outer) is mistake and mistake_in(mistake) is mistake
    assert mistake_in(ValueError("a bug")) is None


def test_a_class_that_cannot_be_made_is_told_with_its_parts(job: Job, tmp_path: Path, fails: Fails) -> None:
    """The parser wraps what the class says into an error of its own."""
    options = job.args(tmp_path / "out", "--data.source.path", str(tmp_path / "nowhere"))
    error = fails(augment.cli.main, ["synthesize", *options], 1)
    assert error.startswith(f"augment synthesize: source.path: no folder '{tmp_path / 'nowhere'}'")
    assert error.count("\n") == 1
    fit = ["fit", "--output", str(tmp_path / "out"), "--data.source", "ImageFolder", "--data.source.path", "nowhere"]
    error = fails(classify.cli.main, fit, 1)
    assert error.startswith("classify fit: source.path: no folder 'nowhere'") and error.count("\n") == 1
