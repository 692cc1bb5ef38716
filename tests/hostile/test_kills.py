"""A hundred runs that are killed at random and started again: every byte in the end is that of an undisturbed run.

Run it by itself with `make test-kills`; a failure names the moments, which the number in the test's name decides.
"""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked import Ended, run_forked, started
from hostile_case import Places

pytestmark = pytest.mark.slow

RUNS = 20
"""Of each command."""

KILLS = 3
"""A run is killed so often at most; then it may end."""

CLOCKED = ("seconds", "cost")
"""What JSON says of time."""

RUN_NOTES = ("run.json", "last_run.json", "report.html", "report.md", "results.csv", ".lock")
"""Files that say how long the work took, or who did it; what else they say stands in other files."""


@dataclass(frozen=True)
class Work:
    """A command that is killed."""

    program: str
    args: tuple[str, ...]

    def line(self, output: Path) -> list[str]:
        return [word.replace("$output", str(output)) for word in self.args]


@pytest.fixture(scope="module")
def works(places: Places, dataset: Path) -> dict[str, Work]:
    extractor = f"local-dir:{places['extractor'][0]}"
    longer = {
        "synthesize": ("augment", [*places["synthesize"], "--per_class", "24", "--model.steps", "6"]),
        "invert": ("augment", [*places["synthesize"], "--model.inversion.steps", "20", "--shots", "5"]),
        "pretrain": ("augment", [*places["pretrain"], "--trainer.max_steps", "24", "--model.autoencoder_steps", "11",
                     "--checkpoint_every", "5"]),
        "fit": ("classify", [*places["fit"], "--data.synthetic", str(dataset), "--extractor", extractor,
                "--trainer.max_steps", "40"]),
        "study": ("classify", places["study"]),
    }
    return {name: Work(program, (name, *args)) for name, (program, args) in longer.items()}


@pytest.fixture(scope="module")
def undisturbed(works, tmp_path_factory):
    found = {}
    def of(name):
        if name not in found:
            tmp = tmp_path_factory.mktemp(name)
            begun = time.monotonic()
            ended = run_forked(works[name].program, works[name].line(tmp / "out" / "set"), tmp, 120)
            took = time.monotonic() - begun
            print(name, took)
            assert ended.code == 0, ended.err
            found[name] = took, contents(tmp / "out")
        return found[name]
    return of


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder, without what it says of time."""
    paths = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name not in RUN_NOTES)
    return {str(path.relative_to(root)): timeless(path).replace(os.fsencode(root), b"ROOT") for path in paths}


def timeless(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".json":
        return content
    return json.dumps(without_clocks(json.loads(content))).encode()


def without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_clocks(entry) for key, entry in value.items() if key not in CLOCKED}
    return [without_clocks(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("name", ["synthesize", "invert", "pretrain", "fit", "study"])
def test_kills(works, undisturbed, tmp_path, name, seed):
    took, expected = undisturbed(name)
    drawn = random.Random(f"{name} {seed}")
    work, root, told = works[name], tmp_path / "out", []
    (tmp_path / "streams").mkdir()
    for kill in range(KILLS):
        moment = drawn.uniform(0, took)
        number = drawn.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        told.append(f"{number.name} after {moment:.3f} s")
        with started(work.program, work.line(root / "set"), tmp_path / "streams") as child:
            child.join(moment)
            over = not child.is_alive()
            if not over:
                os.killpg(child.pid, number)
                child.join(30)
                assert not child.is_alive(), told
        told.append(f"exit {child.exitcode}, {len(list(root.rglob('*')))} files")
        if over:
            break
    ended = run_forked(work.program, work.line(root / "set"), tmp_path / "streams", 120)
    assert ended.code == 0, (told, ended.err)
    found = contents(root)
    differ = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    print(told)
    assert not differ, (told, differ)
