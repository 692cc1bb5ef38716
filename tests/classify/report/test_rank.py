"""Ranks over studies."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from augment.errors import UserError
from augment.measure.adequacy import Adequacy
from classify.cli import main
from classify.report.rank import rank
from classify.studies.results_folder import StudyFolder

Fails = Callable[..., str]


def study(folder: Path, shots: int = 5, **accuracy: tuple[float, ...]) -> Path:
    folder.mkdir()
    cells = [
        {"row": row, "classifier": "resnet", "shots": shots, "seed": seed, "top1": top1}
        for row, values in accuracy.items()
        for seed, top1 in enumerate(values)
    ]
    pd.DataFrame(cells).to_csv(folder / "results.csv", index=False)
    return folder


def test_ranks_are_by_mean_accuracy_over_the_rows_that_all_studies_have(tmp_path: Path) -> None:
    first = study(tmp_path / "first", none=(0.5, 0.7), fix=(0.8, 0.6), nin=(0.1, 0.1))
    second = study(tmp_path / "second", 1, none=(0.9,), fix=(0.9,), cog=(1.0,))
    ranking = rank([StudyFolder(first), StudyFolder(second)])
    assert ranking.blocks == ["first, resnet, 5 shots", "second, resnet, 1 shot"]
    assert ranking.table == {"none": [2, 1.5], "fix": [1, 1.5]}
    assert list(ranking.means) == ["fix", "none"]
    assert ranking.means["fix"].mean == 1.25


def test_the_command_prints_the_best_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study(tmp_path / "only", none=(0.5,), fix=(0.8,))
    (folder / "adequacy.json").write_text(json.dumps(asdict(Adequacy("x", 200, 96, 1.0, 1.5, 11.0, 0.98, 0.97))))
    main(["rank", str(folder), str(study(tmp_path / "unjudged", none=(0.5,), fix=(0.4,)))])
    text = " ".join(capsys.readouterr().out.split())
    assert text.index("fix") < text.index("none")
    assert "[1] only, resnet, 5 shots [2] unjudged, resnet, 5 shots" in text
    assert "only: The backbone is NOT good enough to rank methods" in text
    assert text.count("The backbone") == 1


def test_studies_without_common_rows(tmp_path: Path) -> None:
    paths = [study(tmp_path / "a", none=(0.5,), fix=(0.8,)), study(tmp_path / "b", none=(0.5,), nin=(0.8,))]
    folders = [StudyFolder(path) for path in paths]
    with pytest.raises(UserError, match="the 2 blocks of these studies have fewer than two rows in common"):
        rank(folders)


def test_studies_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    folders = [StudyFolder(study(tmp_path / name / "out", none=(0.5,), fix=(0.8,))) for name in ("x", "y")]
    assert rank(folders).blocks == [f"{folder}, resnet, 5 shots" for folder in folders]
    with pytest.raises(UserError, match="out' is given twice; name each study once"):
        rank([folders[0], folders[0]])


def test_a_folder_that_is_no_study(tmp_path: Path, fails: Fails) -> None:
    error = fails(main, ["rank", str(tmp_path)], 1)
    assert error == f"classify rank: studies: no '{tmp_path}/results.csv'; give folders that `classify study` wrote\n"
