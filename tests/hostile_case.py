"""A hostile case: a command line that must be answered with one line, and how it is run and judged.

A line of a table reads as it would be typed. Words such as `$images` stand for the places that the fixture of the same
name in `tests/hostile/conftest.py` made, `$output` for a folder that is not there, `$tmp` for the case's own folder;
a word that stands alone may stand for several (`$synthesize` for the options of a small `augment synthesize`).
"""

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from forked import Ended, run_forked

Places = Mapping[str, Sequence[str]]
Prepare = Callable[[Path, Places], None]


@dataclass(frozen=True)
class Case:
    """A mistake, and what must be said of it.

    Attributes:
        line: The command as it is typed.
        code: Its exit code: 2 where the options cannot be read, 1 for a mistake found later.
        words: What the one line must hold, each of them; `a|b` stands for one of the two.
        prepare: Makes what the line needs in the case's own folder, `$tmp`; it gets that folder and the places.
    """

    line: str
    code: int
    words: tuple[str, ...]
    prepare: Prepare | None = None

    def __str__(self) -> str:
        return self.line


def refused(line: str, *words: str, prepare: Prepare | None = None) -> Case:
    """A mistake that is found after the options were read."""
    return Case(line, 1, words, prepare)


def unread(line: str, *words: str, prepare: Prepare | None = None) -> Case:
    """Options that cannot be read."""
    return Case(line, 2, words, prepare)


def copied(what: str, change: Callable[[Path], None]) -> Prepare:
    """A copy of a place as `$tmp/copy`, with one change made to it.

    Args:
        what: The place's name, without `$`.
        change: Breaks something in the copy.
    """

    def prepare(tmp: Path, places: Places) -> None:
        source = Path(places[what][0])
        copy = tmp / "copy"
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
        change(copy)

    return prepare


def typed(line: str, places: Places) -> list[str]:
    """The words of a line, with the places filled in."""
    texts = {name: " ".join(words) for name, words in places.items()}
    found: list[str] = []
    for word in shlex.split(line):
        several = places.get(word.removeprefix("$")) if word.startswith("$") else None
        found += several if several is not None else [Template(word).safe_substitute(texts)]
    return found


def answer(case: Case, places: Places, tmp: Path) -> Ended:
    """Run a case in its folder."""
    here = {"tmp": [str(tmp)], "output": [str(tmp / "output")]}
    if case.prepare is not None:
        case.prepare(tmp, places)
    filled = {name: [word.replace("$output", str(tmp / "output")) for word in words] for name, words in places.items()}
    program, *args = typed(case.line, filled | here)
    streams = tmp / "streams"
    streams.mkdir()
    return run_forked(program, args, streams)


def check(case: Case, places: Places, tmp: Path) -> None:
    """Run a case and judge it: the exit code, and one line of error, which names the command and holds the words."""
    ended = answer(case, places, tmp)
    said = f"{case.line}\nexit code {ended.code}\n{ended.out}\n{ended.err}"
    assert "Traceback" not in ended.out + ended.err, said
    assert len(ended.out.splitlines()) <= 1, said  # what the run would do may be told
    assert ended.code == case.code, said
    lines = [line for line in ended.err.strip().splitlines() if not line.startswith("WARNING: inverting ")]
    assert len(lines) == 1, said
    assert lines[0].startswith(" ".join(case.line.split()[:2])), said
    missing = [word for word in case.words if not any(part in lines[0] for part in word.split("|"))]
    assert not missing, f"{missing} not in: {said}"
    assert not list(tmp.glob("output/*.tar")) and not list(tmp.glob("output/**/*.partial")), said
