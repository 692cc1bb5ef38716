"""Every YAML of the repository fits the command that its first line names."""

import shlex
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import augment.cli
import classify.cli
from augment.backbones.checkpoint import EMBEDDED

FILES = sorted((ROOT / "configs").rglob("*.yaml"))
MAINS = {"augment": augment.cli, "classify": classify.cli}


def command_of(file: Path) -> list[str]:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    return shlex.split(first.removeprefix("#"))


def test_there_are_configs_for_every_job() -> None:
    jobs = {tuple(command_of(file)[:2]) for file in FILES}
    of_augment = {("augment", job) for job in ("synthesize", "pretrain", "explore")}
    assert jobs == of_augment | {("classify", job) for job in ("fit", "study", "advise")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_the_first_line_is_the_command(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")
    program, command, option, path = command_of(file)[:4]
    assert command in MAINS[program].COMMANDS
    assert (option, ROOT / path) == ("--config", file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_the_head_says_how_long_it_takes_or_that_it_was_not_run(file: Path) -> None:
    head = " ".join(line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")).lower()
    assert "not yet run" in head or any(unit in head for unit in (" s ", " s,", " s.", "min", "seconds", "hour"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_the_command_reads_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parsed through the command itself, with the other options of its first line; nothing is loaded or written."""
    program, *args = command_of(file)
    with pytest.raises(SystemExit) as exit_:
        MAINS[program].main([*(here(word, file) for word in args), "--print_config"])
    captured = capsys.readouterr()
    assert exit_.value.code == 0, captured.err
    printed, written = yaml.safe_load(captured.out), yaml.safe_load(file.read_text(encoding="utf-8"))
    given = {word.removeprefix("--").split(".")[0] for word in args if word.startswith("--")}
    # Every key of the file stands in the printed configuration: none was silently dropped.
    for key in written.keys() - given:
        assert contains(printed[key], written[key]), f"{key}: {written[key]} became {printed[key]}"


def here(word: str, file: Path) -> str:
    """A word of a command as it can be read anywhere: a model that was to be pretrained first is an embedded one."""
    if word == "runs/pretrain/model":
        return str(EMBEDDED / "digits")
    return str(file) if ROOT / word == file else word


def contains(printed: object, written: object) -> bool:
    if isinstance(written, dict) and isinstance(printed, dict):
        return all(name in printed and contains(printed[name], value) for name, value in written.items())
    if isinstance(written, list) and isinstance(printed, list) and len(written) == len(printed):
        return all(contains(*pair) for pair in zip(printed, written, strict=True))
    return printed == written
