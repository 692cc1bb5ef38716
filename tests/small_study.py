"""What tests of studies share: a small one, the command that runs it, its cells, and a runner whose process dies."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import SIDE
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


def study_config(model: Path, train: Path, test: Path, extractor: Path) -> dict[str, Any]:
    """The settings of a small study; `test_vit` runs at three shots alone."""
    return {
        "methods": METHODS,
        "reference": "fix/0",
        "seeds": 2,
        "shots": [2, 3],
        "steps": 3,
        "extractor": f"local-dir:{extractor}",
        "source": {
            "class_path": "augment.images.sources.ImageFolder",
            "init_args": {"path": str(train), "test_path": str(test)},
        },
        "synthesizer": {
            "class_path": "augment.synthesis.synthesizer.Synthesizer",
            "init_args": {
                "backbone": {
                    "class_path": "augment.backbones.stable_diffusion.StableDiffusion",
                    "init_args": {"model": str(model)},
                },
                "steps": 2,
                "inversion": {"steps": 2, "warn_psnr": 0},
            },
        },
        "plan": {"per_class": 4, "shard_size": 6, "batch_size": 3},
        "classifiers": {"resnet": {"name": "test_resnet"}, "vit": {"name": "test_vit", "shots": [3]}},
        "batches": {"batch_size": 6, "image_size": SIDE},
    }


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
class Sleeper:
    """Says which process it is in, and sleeps. A spawned process must be able to import it."""

    folder: Path
    synthesizer: nn.Module = field(default_factory=nn.Identity)

    def run(self, group: Group) -> Iterator[Event]:
        hears = signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        (self.folder / str(os.getpid())).write_text("hears Ctrl-C" if hears else "deaf to Ctrl-C")
        time.sleep(600)
        yield Event("done", group.cells[0])


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
