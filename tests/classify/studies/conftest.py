"""A small study, run once for all tests; those that change it get a copy."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_study import run, study_config


@pytest.fixture(scope="session")
def config(
    model_folder: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path_factory: Any
) -> Path:
    path = tmp_path_factory.mktemp("config") / "study.yaml"
    content = study_config(model_folder, train_folder, test_folder, extractor_folder)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config, tmp_path_factory.mktemp("studies") / "done")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")
