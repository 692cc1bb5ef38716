import re
from pathlib import Path

import pytest
import yaml

from augment.commands.parsing import CommandParser
from augment.commands.yaml_files import check_file, check_text, load

FAULTS = {
    "not_utf_8": (b"seed: 1\nname: \xe9\n", r"bad\.yaml', line 2: it is not UTF-8"),
    "syntax": (b"seed: 1\nname: [a\nother: 2\n", r"bad\.yaml', line 3, column 6: did not find expected ',' or '\]'"),
    "tab": (b"seed: 1\ndata:\n\tname: 3\n", r"bad\.yaml', line 3, column 1: found character that cannot start any"),
    "key_twice": (b"seed: 1\nshots: 3\nseed: 2\n", r"bad\.yaml', line 3, column 1: the key 'seed' is there twice"),
    "inner_key_twice": (b"data:\n  a: [1, {b: 1}]\n  a: 2\n", r"bad\.yaml', line 3, column 3: the key 'a' is there"),
    "deep_lists": (b"data: " + b"[" * 5000, r"bad\.yaml', line 1, column \d+: more than 100 levels are nested"),
    "deep_mappings": (b"{a: " * 3000 + b"1" + b"}" * 3000, r"bad\.yaml', line 1, column \d+: more than 100 levels"),
    "loop": (b"data: &a [*a]\n", r"bad\.yaml', line 1, column 11: 'a' holds itself"),
    "unknown_alias": (b"data: *b\n", r"bad\.yaml', line 1, column 7: found undefined alias"),
    "tag": (b"seed: !!python/object:os.system {}\n", r"Unable to|could not determine a constructor"),
    "null_byte": (b"seed: \0", r"bad\.yaml' is no YAML \(unacceptable character #x0000"),
    "list": (b"- 1\n- 2\n", r"bad\.yaml' holds no options, which are written as `name: value`"),
    "empty": (b"", r"bad\.yaml' holds no options"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_file_and_the_line(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, words = FAULTS[fault]
    (tmp_path / "bad.yaml").write_bytes(content)
    parser = CommandParser(prog="augment try")
    parser.add_argument("--config", action="config")
    parser.add_argument("--seed", type=int, default=0)
    with pytest.raises(SystemExit) as left:
        parser.parse_args(["--config", str(tmp_path / "bad.yaml")])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line)


def test_what_is_no_fault(tmp_path: Path) -> None:
    """The same key in two mappings, the same text as key and value, merged mappings, many levels."""
    text = "a: {b: 1}\nc: {b: b, d: a}\nbase: &base {x: 1}\nmore: {<<: *base, x: 2}\ndeep: " + "[" * 90 + "]" * 90
    (tmp_path / "good.yaml").write_text(text, encoding="utf-8")
    check_file(tmp_path / "good.yaml")
    assert load(text)["more"] == {"x": 2}


def test_values_on_the_command_line_are_read_alike() -> None:
    assert load("{strength: 0.5}") == {"strength": 0.5}
    with pytest.raises(yaml.YAMLError, match="the key 'strength' is there twice"):
        load("{strength: 1, strength: 2}")
    check_text("a")
