"""Runs that are killed at random and started again: in the end every byte is that of an undisturbed run.

The number in a test's name decides its moments and signals, as shares of what an undisturbed run took; a failure tells
what came of them.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked import run_forked, started
from hostile_case import Places

pytestmark = pytest.mark.slow

RUNS = 20
"""Of each command."""

KILLS = 2
"""A run is killed so often at most; the next one may end."""

ACCOUNTS = ("run.json", "results.csv", "report.html", "report.md", "*.ckpt")
"""Files that tell how long the work took; whatever else they tell stands in other files.

The last checkpoint of a pretraining knows how often it was resumed; its weights are those of the model.
"""

CLOCKS = ("seconds", "cost", "new", "spent")
"""Entries of JSON that tell the same, or how much the last run had left to do."""


@dataclass(frozen=True)
class Work:
    """A command that takes some seconds; `$output` stands for its folder."""

    program: str
    words: tuple[str, ...]

    def typed(self, root: Path) -> list[str]:
        return [word.replace("$output", str(root / "out")) for word in self.words]


@dataclass(frozen=True)
class Undisturbed:
    """What a run left that nobody killed, and the seconds that it took."""

    seconds: float
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def works(places: Places, dataset: Path) -> dict[str, Work]:
    extractor = f"local-dir:{places['extractor'][0]}"
    augment = {
        "synthesize": [*places["synthesize"], "--per_class", "24", "--model.steps", "6"],
        "invert": [
            *places["synthesize"],
            *("--shots", "5", "--model.inversion.steps", "20", "--model.inversion.batch_size", "2"),
        ],
        "pretrain": [
            *places["pretrain"],
            *("--trainer.max_steps", "24", "--model.autoencoder_steps", "11", "--checkpoint_every", "8"),
        ],
        "tune": [*places["tune"], "--model.tuning.steps", "24", "--checkpoint_every", "8"],
    }
    classify = {
        "fit": [
            *places["fit"],
            "--data.synthetic",
            str(dataset),
            "--extractor",
            extractor,
            "--trainer.max_steps",
            "40",
        ],
        "study": places["study"],
    }
    return {name: Work("augment", (name, *words)) for name, words in augment.items()} | {
        name: Work("classify", (name, *words)) for name, words in classify.items()
    }


@pytest.fixture(scope="module")
def undisturbed(works: dict[str, Work], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """Runs a command once, when it is first asked for."""
    found: dict[str, Undisturbed] = {}

    def of(name: str) -> Undisturbed:
        if name not in found:
            work, root = works[name], tmp_path_factory.mktemp(name)
            begun = time.monotonic()
            ended = run_forked(work.program, work.typed(root / "files"), root, seconds=300)
            seconds = time.monotonic() - begun
            assert ended.code == 0, ended.err
            found[name] = Undisturbed(seconds, files_below(root / "files"))
        return found[name]

    return of


def files_below(root: Path) -> dict[str, bytes]:
    """Every file, hidden ones too, without what is told of time, and with another word for the folder."""
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and not any(map(path.match, ACCOUNTS))]
    return {str(path.relative_to(root)): content_of(path).replace(os.fsencode(root), b"ROOT") for path in paths}


def content_of(path: Path) -> bytes:
    content = path.read_bytes()
    return json.dumps(without_clocks(json.loads(content))).encode() if path.suffix == ".json" else content


def without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_clocks(entry) for key, entry in value.items() if key not in CLOCKS}
    return [without_clocks(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("number", range(RUNS))
@pytest.mark.parametrize("name", ["synthesize", "invert", "pretrain", "tune", "fit", "study"])
def test_a_killed_run_leaves_the_same_bytes(
    works: dict[str, Work], undisturbed: Callable[[str], Undisturbed], tmp_path: Path, name: str, number: int
) -> None:
    work, expected, drawn = works[name], undisturbed(name), random.Random(f"{name} {number}")
    root, told = tmp_path / "files", []
    for _ in range(KILLS):
        moment, kind = drawn.random(), drawn.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        code, error = killed(work, root, tmp_path, moment * expected.seconds, kind)
        told.append(f"{kind.name} at {moment:.3f} of {expected.seconds:.1f} s: exit code {code}")
        assert code in {0, -kind, 128 + kind}, (told, error)
        assert "Traceback" not in error, (told, error)
        if code == 0:
            break
    ended = run_forked(work.program, work.typed(root), tmp_path, seconds=300)
    assert ended.code == 0, (told, ended.err)
    found = files_below(root)
    differ = [path for path in sorted(found.keys() | expected.files) if found.get(path) != expected.files.get(path)]
    print(f"{name} {number}: {told}; {len(differ)} of {len(found)} files differ")
    assert not differ, (told, differ)


def killed(work: Work, root: Path, streams: Path, seconds: float, kind: signal.Signals) -> tuple[int | None, str]:
    """Start a command, and send a signal to all of its processes after so long, unless it has ended; what came of it.

    Returns:
        Its exit code, and what it wrote to standard error.
    """
    with started(work.program, work.typed(root), streams) as child:
        child.join(seconds)
        if child.is_alive():
            assert child.pid is not None
            os.killpg(child.pid, kind)
            child.join(60)
        assert child.exitcode is not None, "it goes on after a signal"
        return child.exitcode, (streams / "stderr").read_text(encoding="utf-8", errors="replace")
