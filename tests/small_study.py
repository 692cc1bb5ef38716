"""What tests of studies share: a small one, the command that runs it, its cells, and a runner whose process dies."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from classify.cli import main
from classify.studies.grid import Group
from classify.studies.runner import Event

JITTERED = {"name": "fix/chm, jittered", "method": "fix/chm", "batches": {"color_jitter": 0.9}}

METHODS = ["none", "fix/0", "fix/chm", JITTERED]

ROWS = ["none", "fix/0", "fix/chm", "fix/chm, jittered"]

CLOCKS = {"seconds": 0, "cost": 0}
"""What two runs of a cell may differ in, made equal."""

SLUGS = ["none", "fix-0", "fix-chm", "fix-chm--jittered"]


def run(config: Path, output: Path, *more: str) -> Path:
    main(["study", "--config", str(config), "--output", str(output), *more])
    return output


def cells(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("cells/*.json"))}


def slugs(seeds: tuple[int, ...] = (0, 1), rows: list[str] = SLUGS) -> set[str]:
    blocks = [("resnet", 2), ("resnet", 3), ("vit", 3)]
    return {f"{row}-{name}-shots{shots}-seed{seed}" for row in rows for name, shots in blocks for seed in seeds}


def dataset(folder: Path, name: str) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "datasets" / name / "dataset.json").read_text(encoding="utf-8"))
    return manifest


def same(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> None:
    assert before.keys() == after.keys()
    for name, row in before.items():
        assert after[name] | CLOCKS == row | CLOCKS


@dataclass
class Mortal:
    """Runs nothing; its process is killed at one cell. A spawned process must be able to import it."""

    deadly: str
    synthesizer: nn.Module = field(default_factory=nn.Identity)

    def run(self, group: Group) -> Iterator[Event]:
        for cell in group.cells:
            yield Event("running", cell)
            if cell.slug == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            yield Event("done", cell)
