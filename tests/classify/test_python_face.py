"""What a notebook gets from `import classify`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SIDE

import classify
from augment.errors import UserError
from augment.images.sources import ImageFolder
from classify.cli import main

SMALL = classify.Batches(batch_size=6, image_size=SIDE)
NETWORK = {"name": "test_resnet", "warmup_steps": 2}


def test_the_import_is_quick() -> None:
    code = (
        "import sys, classify; sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'lightning', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("name", classify.__all__)
def test_every_name_is_there_and_explained(name: str) -> None:
    assert name in dir(classify)
    assert getattr(classify, name).__doc__


def test_an_unknown_name_is_no_part_of_it() -> None:
    with pytest.raises(AttributeError, match="module 'classify' has no attribute 'fitt'"):
        classify.fitt  # noqa: B018


def test_fit_gives_the_numbers_of_the_command(
    dataset: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path: Path
) -> None:
    source, extractor = ImageFolder(train_folder, test_folder), f"local-dir:{extractor_folder}"
    found = classify.fit(
        tmp_path / "function",
        source,
        NETWORK,
        dataset,
        shots=3,
        steps=8,
        batches=SMALL,
        extractor=extractor,
        show_progress=False,
    )
    args = ["fit", "--output", str(tmp_path / "command"), "--model.name", "test_resnet", "--model.warmup_steps", "2"]
    args += ["--data.source", "augment.images.sources.ImageFolder", "--data.source.path", str(train_folder)]
    args += ["--data.source.test_path", str(test_folder), "--data.shots", "3", "--data.synthetic", str(dataset)]
    args += ["--data.batches.image_size", str(SIDE), "--data.batches.batch_size", "6", "--extractor", extractor]
    main([*args, "--trainer.max_steps", "8", "--trainer.accelerator", "cpu"])
    one, two = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("function", "command"))
    assert one | {"seconds": 0} == two | {"seconds": 0}
    assert found.metrics == one
    assert (found.accuracy, found.per_class) == (one["top1"], one["per_class"])
    assert found.results == tmp_path / "function" / "results.json"
    weights = [(tmp_path / n / "classifier" / "model.safetensors").read_bytes() for n in ("function", "command")]
    assert weights[0] == weights[1]
    assert found.classifier == tmp_path / "function" / "classifier"
    assert found.card.is_file()
    curves = [(tmp_path / n / "curves" / "metrics.csv").read_text() for n in ("function", "command")]
    assert curves[0] == curves[1]


def test_fit_names_a_setting_that_the_classifier_does_not_have(train_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"classifier: there is no setting 'learning_rate'; choose from name, "
    ) as error:
        classify.fit(tmp_path / "out", ImageFolder(train_folder), {"learning_rate": 1})
    assert (error.value.argument, error.value.problem) == ("classifier", "there is no setting 'learning_rate'")
    assert not (tmp_path / "out").exists()


def test_a_study_is_run_and_told(
    model_folder: Path, train_folder: Path, test_folder: Path, extractor_folder: Path, tmp_path: Path
) -> None:
    from augment.backbones.stable_diffusion import StableDiffusion
    from augment.synthesis.synthesizer import Synthesizer

    settings = classify.Study(
        tmp_path / "study",
        Synthesizer(StableDiffusion(str(model_folder)), steps=2),
        {"resnet": {"name": "test_resnet"}},
        ImageFolder(train_folder, test_folder),
        ["none"],
        seeds=1,
        shots=[3],
        steps=2,
        batches=SMALL,
        extractor=f"local-dir:{extractor_folder}",
    )
    folder = classify.study(settings)
    assert isinstance(folder, classify.StudyFolder)
    classify.write_report(folder)
    assert list(folder.table()["row"]) == ["none"]
    assert folder.page("html").is_file()
