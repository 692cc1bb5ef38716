"""The Python face: what a notebook imports, the README's example as it stands, and a strictly typed script."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import augment
import classify


def example() -> str:
    """The first Python block below the README's heading "From Python"."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## From Python")[1]
    return text.split("```python\n")[1].split("```")[0]


def test_the_readmes_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example(), "README.md", "exec"), names)
    assert names["folder"] == (tmp_path / "runs" / "notebook" / "digits").resolve()
    assert len(augment.open_dataset(tmp_path / "runs" / "notebook" / "digits")) == 100


@pytest.mark.parametrize("package", [augment, classify])
def test_every_name_is_there_and_documented(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert sorted(names) == sorted(dir(package))
    for name in names:
        assert getattr(package, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        package.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_a_strictly_typed_script_passes(tmp_path: Path) -> None:
    """mypy --strict on the README's example, with the types that a reader expects of it."""
    script = tmp_path / "script.py"
    script.write_text(
        example().replace("import augment, classify", "from pathlib import Path\n\nimport augment\nimport classify")
        + "where: Path = folder\nnumber: int = label\nwidth: int = image.width\nsettings: classify.Study\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(script)]  # strict by pyproject.toml
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
