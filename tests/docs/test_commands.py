"""Every command line in the README and the documentation is one that its command's own parser takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import augment.cli
import classify.cli
from augment.commands.page import Page
from augment.commands.parsing import OneLineErrors

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {"augment": augment.cli, "classify": classify.cli}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:augment|classify) [a-z]+ -[^`]+)`")
TARGET = re.compile(r"`(make [a-z-]+)`")
OPTION = re.compile(r"`--([a-zA-Z][\w.-]*)[ `=]")


def command_lines(text: str) -> Iterator[str]:
    """What a reader may copy: lines of fenced blocks, and commands with options in the text."""
    for language, block in FENCED.findall(text):
        if language not in ("", "bash"):
            continue
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip())
    yield from (command.replace("\n", " ") for command in (*INLINE.findall(text), *TARGET.findall(text)))


def found(program: str) -> list[tuple[str, list[str]]]:
    """All lines of a program, each with its page; comments are cut off."""
    lines = [(page.name, shlex.split(line, comments=True)) for page in PAGES for line in command_lines(read(page))]
    return [(name, words) for name, words in lines if words and words[0] == program]


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


COMMANDS = [line for program in PROGRAMS for line in found(program)]


class ParsedError(Exception):
    """In place of the command's work."""


@pytest.fixture
def parsing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands parse their words and stop; folders and repositories that the pages name are not looked at."""
    parse_args = OneLineErrors.parse_args

    def parse(self: Any, *args: Any, **kwargs: Any) -> None:
        parse_args(self, *args, **kwargs)
        raise ParsedError

    manifest = {"few_shot": [{"label": 0}], "config": {"seed": 0}}
    monkeypatch.setattr(OneLineErrors, "parse_args", parse)
    monkeypatch.setattr("classify.commands.pages.read_manifest", lambda folder: manifest)
    monkeypatch.setattr(
        "augment.commands.presets.read_index", lambda checkpoint: {"_class_name": "StableDiffusionPipeline"}
    )
    tuning = {"backbone": {"init_args": {"model": "digits"}}, "prompt": "a {token}"}
    monkeypatch.setattr("augment.commands.presets.read_tuning", lambda folder: tuning)
    monkeypatch.chdir(ROOT)


def test_the_pages_show_every_command() -> None:
    shown = {tuple(words[:2]) for _, words in COMMANDS}
    assert shown >= {(program, name) for program, module in PROGRAMS.items() for name in module.COMMANDS}


@pytest.mark.usefixtures("parsing_only")
@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS])
def test_a_command_line_is_parsed(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    program, *args = words
    if args[-1:] == ["--help"] or args[-2:] == ["--help", "all"] or words == ["augment", "backbones"]:
        check_printed(program, args)
        return
    try:
        PROGRAMS[program].main(args)
    except ParsedError:
        return
    except SystemExit:
        pytest.fail(f"{page}: {' '.join(words)}: {capsys.readouterr().err}")
    pytest.fail(f"{page}: {' '.join(words)} was not parsed")


def check_printed(program: str, args: list[str]) -> None:
    """Commands that only print do so."""
    try:
        PROGRAMS[program].main(args)
    except SystemExit as left:
        assert left.code == 0


def options_of(page: Page) -> set[str]:
    return set(page.options) | {"help", "print_config"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_option_without_a_dot_that_the_text_names_is_on_a_commands_page(page: Path) -> None:
    short = set().union(*(options_of(one) for module in PROGRAMS.values() for one in module.PAGES.values()))
    named = {name for name in OPTION.findall(read(page)) if "." not in name}
    assert named - short == set()


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    wanted = {words[1] for _, words in found("make")}
    assert {"demo", "test", "docs"} <= wanted <= targets


def test_the_readme_is_short_and_begins_with_two_commands() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= 150
    text = read(ROOT / "README.md")
    assert [line.split("#")[0].strip() for line in FENCED.findall(text)[0][1].splitlines()] == [
        "make demo",
        "make test",
    ]


def test_the_api_page_has_every_public_name() -> None:
    shown = re.findall(r"^::: (\S+)$", read(ROOT / "docs" / "api.md"), re.MULTILINE)
    names = {f"{package.__name__}.{name}" for package in (augment, classify) for name in package.__all__}
    assert sorted(shown) == sorted(names)
