"""A small search for advice, run once for all tests; those that change it get a copy."""

import shutil
from pathlib import Path

import pytest
from small_advice import advisor

import classify


@pytest.fixture(scope="session")
def finished(model_folder: Path, train_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output: Path = tmp_path_factory.mktemp("advice") / "done"
    classify.advise(advisor(output, model_folder, train_folder))
    return output


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")
