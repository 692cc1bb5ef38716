"""The Python face: what a notebook imports, the README's example as it stands, and a strictly typed script."""

import doctest
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


IN_ORDER = [
    augment.choose_few_shot_set,
    augment.interpolate,
    augment.make_recipe,
    augment.invert,
    augment.synthesize,
    augment.open_dataset,
    augment.verify,
    classify.fit,
    classify.advise,
    classify.Study,
    classify.study,
    classify.write_report,
]
"""Names whose docstrings hold an example; some read what an earlier one has written."""


class ShownOnly(doctest.OutputChecker):
    """Compares what an example shows; where it shows nothing, a progress bar may have been printed."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


def test_the_examples_in_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(ShownOnly())
    for name in IN_ORDER:
        examples = [test for test in finder.find(name, name.__name__, globs={}) if test.examples]
        assert len(examples) == 1, f"{name.__name__} has no example"
        assert runner.run(examples[0]).failed == 0, name.__name__


def test_every_function_of_the_face_has_an_example_that_runs() -> None:
    functions = {
        name
        for package in (augment, classify)
        for name in package.__all__
        if not isinstance(getattr(package, name), type)
    }
    assert functions <= {name.__name__ for name in IN_ORDER}


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


def test_a_call_from_python_is_quiet_and_leaves_the_libraries_as_they_were(tmp_path: Path) -> None:
    """The progress bars on standard error are ours; nothing else is said."""
    script = (
        "import logging, augment, classify\n"
        "logging.getLogger('lightning.pytorch').setLevel(logging.INFO)\n"
        "network, small = {'name': 'test_resnet'}, classify.Batches(batch_size=16, image_size=32)\n"
        "augment.StableDiffusion('digits')\n"
        "classify.fit('runs', augment.Digits(), network, steps=2, batches=small, show_progress=False)\n"
        "assert logging.getLogger('lightning.pytorch').level == logging.INFO\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
