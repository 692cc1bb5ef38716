"""What does a command say that runs in a forked child? Its exit code and its two streams; imports are paid for once."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("augment.commands.synthesize", "augment.commands.invert", "augment.commands.verify", "augment.commands.push"),
        *(
            "augment.commands.pretrain",
            "augment.commands.tune",
            "augment.commands.explore",
            "classify.commands.fit",
            "classify.commands.push",
        ),
        *("classify.commands.study", "classify.commands.rank", "torchvision.transforms.v2", "timm.models"),
    ]
)


@dataclass(frozen=True)
class Ended:
    """A command that is over: exit code (negative: killed by this signal), and what it wrote."""

    code: int | None
    out: str
    err: str


@contextmanager
def started(program: str, args: Sequence[str], folder: Path) -> Iterator[BaseProcess]:
    """`augment` or `classify` in a child that has the heavy imports already; it leads a group of processes."""
    child = FORKS.Process(target=_run, args=(program, list(args), folder))
    child.start()
    assert child.pid is not None
    try:
        with suppress(ProcessLookupError):  # it is over already
            while os.getpgid(child.pid) != child.pid:
                time.sleep(0.001)
        yield child
    finally:
        child.kill()
        child.join()


def run_forked(program: str, args: Sequence[str], folder: Path, seconds: float = 60) -> Ended:
    """Run it to its end; a child that hangs is killed."""
    with started(program, args, folder) as child:
        child.join(seconds)
    out, err = ((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr"))
    return Ended(child.exitcode, out, err)


def _run(program: str, args: list[str], folder: Path) -> None:
    """In the child: as the console script would."""
    os.setsid()
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream.fileno())
    import_module(f"{program}.cli").main(args)
