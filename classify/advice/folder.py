"""Where does an advice keep its files, and what do they say? The only file that knows.

advisor.json               what decides the course of the search
search.log                 Optuna's journal: every candidate that was proposed, and its scores
spent.json                 seconds that were spent so far
trials/                    a study's folder: the cells, sets and tunings of all candidates and folds
left_out.json              what the space names and cannot be done, with the reason
confirmed.json             who was compared on fresh folds, and what each scored
advice.json, advice.html, advice.md, figures/
recipe.yaml, train.yaml, tune.yaml    what the answer recommends, as it runs
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.runtime.claim import check_configuration
from augment.runtime.files import write_json, write_text
from augment.runtime.fingerprint import library_versions
from augment.runtime.json_files import Kinds, Number, read_object
from classify.studies.results_folder import StudyFolder

MARKER = "advisor.json"
REMEDY = "delete it and run `classify advise` again"


class AdviceFolder:
    """An advice's folder on disk; files in it appear whole or not at all.

    Args:
        path: The folder, which need not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.trials = StudyFolder(self.path / "trials")

    def __str__(self) -> str:
        return str(self.path)

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.path / "search.log"

    def claim(self, config: Mapping[str, Any]) -> None:
        """Take the folder for this search, or go on with it.

        Raises:
            UserError: If it holds another one, or something else.
        """
        self.check(config)
        if not (self.path / MARKER).is_file():
            self._write(MARKER, {"config": dict(config), "versions": library_versions()})

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse a folder that holds anything but this search.

        Raises:
            UserError: If it does.
        """
        check_configuration(self.path, MARKER, "search for advice", config, "choose another `output`")

    def description(self) -> dict[str, Any]:
        """What decided the search, and the versions of the libraries."""
        return read_object(self.path / MARKER, "output", REMEDY, {"config": dict, "versions": dict})

    def spent(self) -> float:
        """Seconds that were spent in this folder."""
        found = self._read("spent.json", {"seconds": Number})
        return 0.0 if found is None else float(found["seconds"])

    def write_spent(self, seconds: float) -> None:
        """Keep how many seconds were spent."""
        self._write("spent.json", {"seconds": seconds})

    def write_left_out(self, reasons: Mapping[str, str]) -> None:
        """Keep what cannot be done, with the reason."""
        self._write("left_out.json", reasons)

    def left_out(self) -> dict[str, str]:
        """What cannot be done, with the reason."""
        return self._read("left_out.json", {}) or {}

    def confirmed(self) -> dict[str, Any] | None:
        """What was compared on fresh folds, if that was done."""
        kinds: Kinds = {"candidates": dict, "search": list, "hours": Number, "most": int | None, "fresh": int}
        return self._read("confirmed.json", kinds)

    def write_confirmed(self, found: Mapping[str, Any]) -> None:
        """Keep what was compared on fresh folds."""
        self._write("confirmed.json", found)

    def advice(self) -> dict[str, Any] | None:
        """The answer, if there is one."""
        return self._read("advice.json", {"answer": str})

    def write_advice(self, found: Mapping[str, Any]) -> None:
        """Keep the answer."""
        self._write("advice.json", found)

    def file(self, name: str) -> Path:
        """Where a file that is recommended lies: `recipe.yaml`, `train.yaml` or `tune.yaml`."""
        return self.path / name

    def write_file(self, name: str, content: str | None) -> None:
        """Keep a file that is recommended; None takes an older one away."""
        if content is None:
            self.file(name).unlink(missing_ok=True)
        else:
            write_text(self.file(name), content)

    def page(self, kind: str) -> Path:
        """Where the page lies: `html` or `md`."""
        return self.path / f"advice.{kind}"

    def figure(self, name: str) -> str:
        """Where a picture goes, as the page names it: below `path`."""
        (self.path / "figures").mkdir(parents=True, exist_ok=True)
        return f"figures/{name}.png"

    def _read(self, name: str, kinds: Kinds) -> dict[str, Any] | None:
        path = self.path / name
        return read_object(path, "output", REMEDY, kinds) if path.is_file() else None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / name, dict(content))
