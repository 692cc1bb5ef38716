"""Where does a study keep its files, and what do they say? The only file that knows.

study.json                 what decides the study's numbers
last_run.json              what the last command asked for: its cells, its reference row, how it was typed
cells/                     what each training and its test found
datasets/, bank/           synthetic sets, and the latents that they begin with
sets/, inversions/         what was measured on a set, and what its latents cost and are like
near_duplicates.json       test images that are nearly few-shot images
adequacy.json              whether the backbone is good enough
features/                  of the real images, for the set metrics
curves/, failures/         of each training: its curves, and its trace if it failed
results.csv, figures/, report.html, report.md
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from augment.dataset.shard_writer import shard_name
from augment.errors import UserError
from augment.measure.adequacy import Adequacy
from augment.runtime.claim import check_same, read_claim
from augment.runtime.files import write_json
from augment.runtime.json_files import Kinds, read_object
from classify.studies import notes


@dataclass(frozen=True)
class LastRun:
    """What the last command that was run to its end asked for.

    Attributes:
        command: As it was typed.
        reference: Row that all others are compared with, beside the baseline.
        cells: Files of its cells in the order of its rows, whether they were finished or failed.
        seed: Of the few-shot set that the picture of real images shows.
        shots: Of the same.
    """

    command: str
    reference: str | None
    cells: tuple[str, ...]
    seed: int
    shots: int


class StudyFolder:
    """A study's folder on disk; files in it appear whole or not at all.

    Args:
        path: The folder, which need not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def agree(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """A study's description with what the folder held before; rows and classifiers may be added at any time.

        Args:
            wanted: See `Study.describe`.

        Raises:
            UserError: If the folder holds a study of another configuration, or something else.
        """
        if read_claim(self.path, "study.json", "study") is None:
            return dict(wanted)
        found = self.description()
        joined = {**wanted, **{part: found[part] | wanted[part] for part in ("rows", "classifiers")}}
        for part in ("rows", "classifiers"):
            found[part] = joined[part] | found[part]
        check_same(self.path, "study", found, joined, "choose another `output`")
        return joined

    def description(self) -> dict[str, Any]:
        """What decides the study's numbers.

        Raises:
            UserError: If this is no study's folder.
        """
        found = self._read("study.json", notes.DESCRIPTION, remedy="restore it, or choose another `output`")
        if found is None:
            raise UserError("output", f"'{self}' holds no study", "give a folder that `classify study` wrote")
        return found

    def write_description(self, description: Mapping[str, Any]) -> None:
        """Keep what `agree` found."""
        self._write("study.json", description)

    def last_run(self) -> LastRun:
        """What the last command asked for.

        Raises:
            UserError: If none was run to its end.
        """
        found = self._read("last_run.json", notes.LAST_RUN, notes.check_last_run, "run `classify study` on it again")
        if found is None:
            raise UserError("output", f"no study was run to its end in '{self}'", "run `classify study` on it again")
        return LastRun(**{key: found[key] for key in notes.LAST_RUN} | {"cells": tuple(found["cells"])})

    def write_last_run(self, run: LastRun) -> None:
        """Keep what the report is about."""
        self._write("last_run.json", asdict(run))

    def finished(self, cell: str, key: str) -> dict[str, Any] | None:
        """The results of a cell, if it was run before.

        Args:
            cell: Name of its file.
            key: Of its configuration.

        Raises:
            UserError: If they belong to another configuration, or cannot be read.
        """
        results = self._cell(cell)
        if results is not None and results["key"] != key:
            raise UserError("output", f"'{self.path / 'cells' / cell}.json' belongs to another study", "delete it")
        return results

    def write_cell(self, cell: str, results: Mapping[str, Any]) -> None:
        """Keep the results of a cell, which makes it finished."""
        self._write(f"cells/{cell}.json", results)

    def results(self, run: LastRun) -> list[dict[str, Any]]:
        """The results of the finished cells of a run, in their order."""
        return [results for cell in run.cells if (results := self._cell(cell)) is not None]

    def curves(self, cell: str) -> Path:
        """Where the training curves of a cell go."""
        return self.path / "curves" / cell

    def keep_trace(self, cell: str, trace: str) -> None:
        """Keep the traceback of a cell that failed."""
        (self._folder("failures") / f"{cell}.txt").write_text(trace, encoding="utf-8")

    @property
    def bank(self) -> Path:
        """Where the latents of all sets lie."""
        return self.path / "bank"

    @property
    def features(self) -> Path:
        """Where the real images' features are kept."""
        return self.path / "features"

    def dataset(self, name: str) -> Path:
        """Where a synthetic set lies."""
        return self.path / "datasets" / name

    def first_shard(self, name: str) -> Path | None:
        """The first shard of a synthetic set, if there is one."""
        shard = self.dataset(name) / shard_name(0)
        return shard if shard.is_file() else None

    def run_of_synthesis(self, name: str) -> dict[str, Any]:
        """What the runs that made images of a set noted: how many they were, and their seconds."""
        remedy = "delete the set's folder, so that it is made again"
        return self._read(f"datasets/{name}/run.json", notes.RUN, notes.check_run, remedy) or {"images": 0}

    def set_note(self, name: str) -> dict[str, Any] | None:
        """What was measured on a synthetic set, if it was made before; a note that lacks its seconds is none."""
        note = self._read(f"sets/{name}.json", notes.SET, notes.check_set)
        return note if note is not None and "seconds" in note else None

    def write_set_note(self, name: str, note: Mapping[str, Any]) -> None:
        """Keep what was measured on a synthetic set."""
        self._write(f"sets/{name}.json", note)

    def inversion(self, kind: str, shots: int, seed: int) -> dict[str, Any] | None:
        """What a seed's latents of that kind cost and are like, if they were made before."""
        return self._read(f"inversions/{kind}-shots{shots}-seed{seed}.json", notes.INVERSION, notes.check_latents)

    def write_inversion(self, kind: str, shots: int, seed: int, note: Mapping[str, Any]) -> None:
        """Keep what a seed's latents cost and are like."""
        self._write(f"inversions/{kind}-shots{shots}-seed{seed}.json", note)

    def inversions(self) -> dict[str, list[dict[str, Any]]]:
        """What all seeds' latents cost and are like, by their kind."""
        found: dict[str, list[dict[str, Any]]] = {}
        for path in sorted(self.path.glob("inversions/*.json")):
            note = read_object(path, "output", "delete it", notes.INVERSION, notes.check_latents)
            found.setdefault(path.stem.split("-")[0], []).append(note)
        return found

    def adequacy(self) -> Adequacy | None:
        """Whether the backbone is good enough, if it was judged."""
        found = self._read("adequacy.json", notes.kinds_of(Adequacy), notes.check_adequacy)
        return (
            None if found is None else Adequacy(**{f.name: found[f.name] for f in fields(Adequacy) if f.name in found})
        )

    def write_adequacy(self, adequacy: Adequacy) -> None:
        """Keep how good the backbone is."""
        self._write("adequacy.json", asdict(adequacy))

    def tuning(self, name: str) -> Path:
        """Where a tuning lies."""
        return self.path / "tunings" / name

    def table(self) -> pd.DataFrame:
        """One line per cell of the last run, one column per figure.

        Raises:
            UserError: If no run has written one.
        """
        path = self.path / "results.csv"
        if not path.is_file():
            raise UserError("studies", f"no '{path}'", "give folders that `classify study` wrote")
        return notes.read_table(path)

    def write_table(self, table: pd.DataFrame) -> None:
        """Keep the figures of the cells."""
        table.to_csv(self.path / "results.csv", index=False)

    def figure(self, name: str) -> str:
        """Where a picture goes, as the report names it: below `path`."""
        return f"{self._folder('figures').name}/{name}.png"

    def page(self, kind: str) -> Path:
        """Where the report goes: `html` or `md`."""
        return self.path / f"report.{kind}"

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _cell(self, cell: str) -> dict[str, Any] | None:
        return self._read(f"cells/{cell}.json", notes.CELL, notes.check_cell)

    def _read(
        self, name: str, kinds: Kinds, check: notes.Check = notes.nothing_more, remedy: str = "delete it"
    ) -> dict[str, Any] | None:
        path = self.path / name
        return read_object(path, "output", remedy, kinds, check) if path.is_file() else None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(content))
