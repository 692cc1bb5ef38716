"""What the rooms promise: small files that say what they answer, and no import of our own inside a function."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGES = ("augment", "classify")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_LINES, MEDIAN_LINES = 250, 120


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_small() -> None:
    assert [str(path) for path in FILES if lines(path) > MOST_LINES] == []
    assert statistics.median(map(lines, FILES)) <= MEDIAN_LINES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_first_line_says_what_a_file_answers(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith('"""')


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_own_imports_stand_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [node for function in functions for node in ast.walk(function)]
    names = [node.module or "" for node in inside if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in inside if isinstance(node, ast.Import) for alias in node.names]
    assert [name for name in names if name.split(".")[0] in PACKAGES] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    heavy = ("torch", "diffusers", "timm", "lightning", "transformers", "matplotlib", "pandas")
    code = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
