"""A small study, run once for all tests; those that change it get a copy."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import SIDE
from small_study import METHODS, run


@pytest.fixture(scope="session")
def config(
    model_folder: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path_factory: Any
) -> Path:
    path = tmp_path_factory.mktemp("config") / "study.yaml"
    content = {
        "methods": METHODS,
        "reference": "fix/0",
        "seeds": 2,
        "shots": [2, 3],
        "steps": 3,
        "extractor": f"local-dir:{extractor_folder}",
        "source": {
            "class_path": "augment.images.sources.ImageFolder",
            "init_args": {"path": str(train_folder), "test_path": str(test_folder)},
        },
        "synthesizer": {
            "class_path": "augment.synthesis.synthesizer.Synthesizer",
            "init_args": {
                "backbone": {
                    "class_path": "augment.backbones.stable_diffusion.StableDiffusion",
                    "init_args": {"model": str(model_folder)},
                },
                "steps": 2,
                "inversion": {"steps": 2, "warn_psnr": 0},
            },
        },
        "plan": {"per_class": 4, "shard_size": 6, "batch_size": 3},
        "classifiers": {"resnet": {"name": "test_resnet"}, "vit": {"name": "test_vit", "shots": [3]}},
        "batches": {"batch_size": 6, "image_size": SIDE},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(config, tmp_path_factory.mktemp("studies") / "done")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "copy")
