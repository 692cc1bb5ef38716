"""How long does a command take before it works? Its first screen, all its options, and mistakes it finds at once."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from jsonargparse.typing import PositiveInt

from augment.dataset.manifest import close_folder, describe_dataset
from augment.dataset.shard_writer import ShardFile
from augment.errors import UserError
from augment.runtime.files import write_json
from benchmarks.record import Figure, Report, interleave, run

LIMIT = 120.0
"""Seconds that a command may take; none needs a network, or asks for anything."""

MAIN = "import sys, {0}.cli as cli; cli.main(sys.argv[1:])"


def seconds(words: Sequence[str], code: int, folder: Path) -> float:
    """Seconds of one command in a process of its own.

    Args:
        words: Of the command line.
        code: The exit code that it must have.
        folder: Where it runs.

    Raises:
        UserError: If it ends otherwise, or not in time.
    """
    program = [sys.executable, "-c", MAIN.format(words[0]), *words[1:]]
    started = time.perf_counter()
    try:
        ended = subprocess.run(
            program, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired as error:
        took = f"'{' '.join(words)}' took more than {LIMIT:g} s"
        raise UserError("startup", took, "run it again when the machine is idle") from error
    taken = time.perf_counter() - started
    if ended.returncode != code:
        raise UserError("startup", f"'{' '.join(words)}' ended with {ended.returncode}", f"look: {ended.stderr[-300:]}")
    return taken


def startup(rounds: PositiveInt = 5) -> Iterator[Report]:
    """Time the first screen, the list of all options, verify, and refusals, each in a new process.

    Args:
        rounds: Of one run of each, in turn.
    """
    commands = {
        "augment synthesize --help": (0, 3.0),
        "classify study --help": (0, 3.0),
        "augment synthesize --output out --images photos": (2, 1.0),
        "augment synthesize --output out --backbone sd51": (2, 1.0),
        "augment verify empty": (0, 1.0),
        "augment synthesize --help all": (0, None),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty_dataset(folder / "empty")
        runs = {line: partial(seconds, line.split(), code, folder) for line, (code, _) in commands.items()}
        timings = interleave(runs, rounds)
    figures = [Figure(f"{line}, s", tuple(timings[line]), at_most=goal) for line, (_, goal) in commands.items()]
    yield Report(figures, timings)


def empty_dataset(folder: Path) -> None:
    """A finished dataset of one shard without samples: what verify takes before it reads images."""
    folder.mkdir()
    write_json(folder / "dataset.json", describe_dataset({"classes": ["a"], "few_shot": []}))
    ShardFile(folder, 0).commit()
    close_folder(folder, [[]])


if __name__ == "__main__":
    run(startup)
