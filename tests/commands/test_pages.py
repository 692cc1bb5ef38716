"""First screens: short, true to the parser, quick; and short options that become the parser's own."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

import augment.cli
import classify.cli
from augment.commands.page import Page
from augment.commands.pages import PAGES, SYNTHESIZE
from augment.commands.presets import presets
from augment.commands.short_options import OF_SOURCE, spell_out
from augment.errors import UserError
from classify.commands.pages import FIT, STUDY
from classify.commands.pages import PAGES as OF_CLASSIFY

MAINS = {"augment": augment.cli, "classify": classify.cli}
ALL = [("augment", name, page) for name, page in PAGES.items()]
ALL += [("classify", name, page) for name, page in OF_CLASSIFY.items()]
NAMES = [f"{program} {name}" for program, name, _ in ALL]


@pytest.mark.parametrize(("program", "name", "page"), ALL, ids=NAMES)
def test_the_first_screen_is_short_and_has_examples(
    program: str, name: str, page: Page, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit_:
        MAINS[program].main([name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert exit_.value.code == 0
    assert len(lines) <= 40
    assert all(len(line) <= 80 for line in lines if not line.startswith(f"  {program}"))
    assert any(line.startswith(f"  {program} {name}") for line in lines)


OF_THE_PARSER = {"help", "print_config", "source", "seed_everything"}
"""Options without a dot that pages have other names for, or none."""


@pytest.mark.parametrize(("program", "name", "page"), ALL, ids=NAMES)
def test_the_page_knows_each_option_of_the_parser_and_no_other(
    program: str, name: str, page: Page, parsers: dict[str, Any]
) -> None:
    if name == "backbones":
        return  # has no options
    parser = parsers[page.command]
    known = {flag.removeprefix("--") for flag in parser._option_string_actions if flag.startswith("--")}
    plain = {flag.replace("-", "_").rstrip("+") for flag in known if "." not in flag}
    short = {option.name for option in page.options.values() if not option.sets}
    grouped = {flag.partition(".")[0] for flag in known if "." in flag} | {"data", "model", "trainer"}
    assert plain - grouped - OF_THE_PARSER <= page.options.keys()
    assert short - set(OF_SOURCE) - {"backbone", "tuned"} <= plain | grouped
    for option in page.options.values():
        for target in option.sets.split():
            assert any(target == flag or target.startswith((f"{flag}.", f"{flag}.init_args")) for flag in known), target


def test_an_example_of_every_page_is_parsed() -> None:
    for _, _, page in ALL:
        for example in page.examples:
            assert example.startswith(page.command)
            words = example.split()[2:]
            if "--synthetic" not in words:  # a folder that is read
                spell_out(page, words)


def test_a_preset_comes_first_and_what_the_user_gives_wins() -> None:
    words = spell_out(SYNTHESIZE, ["--backbone", "sd15", "--prompt", "a bird", "--output", "out"])
    assert words[0] == "--config"
    assert json.loads(words[1])["model"]["guidance"] == 7.5
    assert words[2:] == ["--model.prompt", "a bird", "--output", "out"]


def test_images_become_a_source() -> None:
    words = spell_out(SYNTHESIZE, ["--images=data/train", "--labels", "a.csv", "--backbone", "sdxl", "--output", "out"])
    source = json.loads(words[words.index("--data.source") + 1])
    assert source["class_path"] == "augment.images.source_of.source_of"
    assert source["init_args"] == {"images": "data/train", "labels": "a.csv"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--images", "data"], "backbone: is not given"),
        (["--labels", "a.csv"], "labels: belongs to images"),
        (["--images", "a", "b", "--backbone", "sd15"], "images: has 2 values instead of one"),
        (["--backbone", "sd51"], "'sd51' is no preset and no folder; did you mean sd"),
        (["--bakcbone", "sd15"], "is no option of augment synthesize; did you mean `backbone`"),
        (["--wibble", "1"], "--wibble: is no option of augment synthesize; see"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(words: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        spell_out(SYNTHESIZE, words)


def test_lists_are_typed_as_words() -> None:
    words = spell_out(STUDY, ["--methods", "none", "nin/chm", "--shots", "1", "5", "--classifiers", "{}"])
    assert words[words.index("--methods") + 1] == '["none", "nin/chm"]'
    assert words[words.index("--shots") + 1] == "[1, 5]"
    assert words[words.index("--classifiers") + 1] == "{}"


def test_a_switch_sets_what_it_stands_for_and_a_seed_both_seeds() -> None:
    words = spell_out(FIT, ["--classifier", "resnet18", "--from_scratch", "--seed", "3"])
    assert words[2:] == (
        ["--model.name", "resnet18", "--model.pretrained", "false", "--data.seed", "3", "--seed_everything", "3"]
    )


def test_all_shots_are_no_number() -> None:
    assert spell_out(FIT, ["--shots", "all"])[-2:] == ["--data.shots", "null"]


def test_the_parsers_own_options_for_classes_and_files_pass() -> None:
    words = ["--source", "Digits", "--model", "model.yaml"]
    assert spell_out(SYNTHESIZE, words) == words


def test_options_with_dots_and_files_bring_no_preset() -> None:
    words = ["--config", "a.yaml", "--model.steps", "3", "--trainer.devices=2", "--print_config=skip_null"]
    assert spell_out(SYNTHESIZE, words) == words


def test_a_checkpoints_family_is_read_from_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    first = json.loads(spell_out(SYNTHESIZE, ["--backbone", str(folder)])[1])
    assert first["model"]["backbone"] == {
        "class_path": "augment.backbones.stable_diffusion_xl.StableDiffusionXL",
        "init_args": {"model": str(folder)},
    }
    (folder / "model_index.json").write_text('{"_class_name": "FooPipeline"}')
    with pytest.raises(UserError, match="holds a FooPipeline, which is not supported; supported are StableDiff"):
        spell_out(SYNTHESIZE, ["--backbone", str(folder)])


@pytest.mark.usefixtures("no_network")
def test_without_a_network_a_name_on_the_hub_is_told_in_one_line() -> None:
    with pytest.raises(
        UserError,
        match="no network, and 'someone/something' is not on this machine; run `hf down",
    ):
        spell_out(SYNTHESIZE, ["--backbone", "someone/something"])


@pytest.mark.parametrize("preset", presets().values(), ids=lambda preset: preset.name)
def test_every_preset_is_read_by_the_commands(preset: object, capsys: pytest.CaptureFixture[str]) -> None:
    name = preset.name  # type: ignore[attr-defined]
    for main, words in (
        (augment.cli.main, ["synthesize", "--output", "out"]),
        (classify.cli.main, ["study"]),
    ):
        with pytest.raises(SystemExit) as exit_:
            main([*words, "--backbone", name, "--print_config"])
        printed = yaml.safe_load(capsys.readouterr().out)
        assert exit_.value.code == 0
        model = printed["synthesizer"]["init_args"] if "synthesizer" in printed else printed["model"]
        assert model["steps"] == preset.model["steps"]  # type: ignore[attr-defined]


def test_the_list_of_backbones_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    augment.cli.main(["backbones"])
    out = capsys.readouterr().out
    assert all(name in out for name in presets())


@pytest.mark.parametrize("words", [["synthesize", "--help"], ["synthesize", "--output", "x", "--images", "y"]])
def test_first_screens_and_early_mistakes_load_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys, augment.cli as c\n"
        "try: c.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'diffusers', 'lightning', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
