import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Job, run_program
from lightning.pytorch.callbacks import DeviceStatsMonitor

import augment.cli
import classify.cli

Fails = Callable[..., str]
PROGRAMS = {"augment": augment.cli, "classify": classify.cli}
COMMANDS = [(program, command) for program, module in PROGRAMS.items() for command in module.COMMANDS]


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_help_of_every_command(program: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        PROGRAMS[program].main([command, "--help", *([] if command == "backbones" else ["all"])])
    out = capsys.readouterr().out
    assert exit_.value.code == 0
    assert f"usage: {program} {command}" in out
    if command not in {"verify", "browse", "push", "rank", "backbones"}:  # these take folders, or nothing
        assert "--output" in out and "--config" in out and "--print_config" in out


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("args", [[], ["-h"], ["--help"]])
def test_usage_names_every_command(program: str, args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    PROGRAMS[program].main(args)
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in PROGRAMS[program].COMMANDS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_unknown_command(program: str, fails: Fails) -> None:
    error = fails(PROGRAMS[program].main, ["fly"], 2)
    assert error == f"{program}: unknown command 'fly'; choose from {', '.join(PROGRAMS[program].COMMANDS)}\n"


def one_line(error: str) -> str:
    assert len(error.strip().splitlines()) == 1, error
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--method", "foo/bar", "nin/chm"),
        ("--data.plan.image_format", "bmp", "webp"),
        ("--data.mixing.weights", "equal", "centroid"),
        ("--model.precision", "fp8", "bf16"),
        ("--model.inversion.kind", "perfect", "null-text"),
    ],
)
def test_a_bad_choice_lists_the_known_ones(
    job: Job, tmp_path: Path, fails: Fails, option: str, value: str, expected: str
) -> None:
    error = one_line(fails(augment.cli.main, ["synthesize", *job.args(tmp_path / "out", option, value)], 2))
    assert option.removeprefix("--").split(".")[-1] in error
    assert value in error
    assert expected in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--shots", "0"),
        ("--per_class", "-3"),
        ("--per_class", "many"),
        ("--model.steps", "0"),
        ("--model.guidance", "-1"),
        ("--batch_size", "0"),
        ("--data.mixing.sources", "0"),
        ("--data.mixing.concentration", "0"),
        ("--no_such_option", "1"),
        ("--data.source.init_args.no_such_argument", "1"),
        ("--config", "no/such/file.yaml"),
    ],
)
def test_a_bad_value_is_one_line(job: Job, tmp_path: Path, fails: Fails, option: str, value: str) -> None:
    error = one_line(fails(augment.cli.main, ["synthesize", *job.args(tmp_path / "out", option, value)], 2))
    assert option.removeprefix("--").split(".")[-1] in error or value in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_key_in_a_file_is_one_line(job: Job, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "config.yaml").write_text("nonsense: 1\n")
    args = ["synthesize", "--config", str(tmp_path / "config.yaml"), *job.args(tmp_path / "out")]
    assert "nonsense" in one_line(fails(augment.cli.main, args, 2))


def test_a_study_of_an_unknown_method_lists_the_known_ones(tmp_path: Path, fails: Fails) -> None:
    config = ROOT / "configs" / "study" / "digits.yaml"
    args = ["study", "--config", str(config), "--output", str(tmp_path / "out"), "--methods", '["nix/chm"]']
    error = one_line(fails(classify.cli.main, args, 1))
    assert "none" in error and "nin/chm" in error
    assert not (tmp_path / "out").exists()


def test_users_mistake_is_one_line_and_exit_code_one(tmp_path: Path, fails: Fails) -> None:
    error = one_line(fails(augment.cli.main, ["verify", str(tmp_path)], 1))
    assert error.startswith("augment verify: dataset: no '")


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bug must not look like a user's mistake."""

    def broken(folder: Path) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("augment.commands.verify.verify", broken)
    with pytest.raises(ZeroDivisionError):
        augment.cli.main(["verify", str(tmp_path)])


def test_the_console_scripts_are_installed() -> None:
    run_program("augment", ["--help"])
    run_program("classify", ["--help"])


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_waits_for_no_heavy_import(program: str) -> None:
    code = f"import sys, {program}.cli as c; c.main([]); sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_nothing_is_written_to_the_working_directory(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    augment.cli.main(["synthesize", *job.args(tmp_path / "out" / "set", per_class=1)])
    assert list((tmp_path / "cwd").iterdir()) == []


def test_the_trainers_precision_is_refused_since_nothing_records_it(job: Job, tmp_path: Path, fails: Fails) -> None:
    from augment.cli import main

    error = fails(main, ["synthesize", *job.args(tmp_path / "out", "--trainer.precision", "bf16-mixed")], 1)
    assert "trainer.precision: bf16-mixed" in error and error.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test asks for in vain")
def test_a_trainer_that_this_machine_cannot_give_is_one_line(job: Job, tmp_path: Path, fails: Fails) -> None:
    from augment.cli import main

    error = fails(main, ["synthesize", *job.args(tmp_path / "out"), "--trainer.accelerator", "cuda"], 1)
    assert error.startswith("augment synthesize: ") and error.count("\n") == 1


def test_a_negative_seed_is_refused(job: Job, tmp_path: Path, fails: Fails) -> None:
    from augment.cli import main

    assert "--seed: Not of type" in fails(main, ["synthesize", *job.args(tmp_path / "out", "--seed", "-1")], 2)


def test_the_users_callbacks_run_beside_the_commands_own(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(DeviceStatsMonitor, "on_predict_end", lambda *_: seen.append("called"), raising=False)
    callback = "lightning.pytorch.callbacks.DeviceStatsMonitor"
    job.synthesize(tmp_path / "out" / "set", "--trainer.callbacks", callback, per_class=1)
    assert seen == ["called", "called"]  # while inverting, and while sampling
    assert len(list((tmp_path / "out" / "set").glob("*.tar"))) == 1
