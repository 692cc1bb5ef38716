"""Where the hostile cases happen: folders that are made once and that no case changes."""

from pathlib import Path

import pytest
import yaml
from conftest import SIDE, Job
from fitting import fit_args
from forked import run_forked
from hostile_case import Places
from small_study import study_config


@pytest.fixture(scope="session")
def places(
    job: Job,
    dataset: Path,
    train_folder: Path,
    test_folder: Path,
    extractor_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Places:
    """What each `$word` of a case's line stands for; `$output` in it is the case's own."""
    root = tmp_path_factory.mktemp("hostile")
    notes = root / "notes.txt"
    notes.write_text("mine\n", encoding="utf-8")
    output = Path("$output")
    config = study_config(job.model, train_folder, test_folder, extractor_folder) | {
        "methods": ["none", "fix/0"],
        "seeds": 1,
        "shots": [2],
        "classifiers": {"resnet": {"name": "test_resnet"}},
    }
    configuration = root / "study.yaml"
    configuration.write_text(yaml.safe_dump(config), encoding="utf-8")
    study = ["--config", str(configuration)]
    finished = root / "study"
    (root / "streams").mkdir()
    ended = run_forked("classify", ["study", *study, "--output", str(finished)], root / "streams", seconds=120)
    assert ended.code == 0, ended.err
    bank = next(dataset.parent.glob("bank/*"))
    folders = {
        "root": root,
        "notes": notes,
        "images": train_folder,
        "tests": test_folder,
        "model": job.model,
        "dataset": dataset,
        "bank": bank,
        "extractor": extractor_folder,
        "study_config": configuration,
        "finished_study": finished,
    }
    commands = {
        "synthesize": job.args(output),
        "fit": fit_args(output, train_folder, test_folder)[1:],
        "study": [*study, "--output", str(output)],
        "pretrain": [
            *("--output", str(output), "--model", "LatentDiffusion", "--model.image_size", str(SIDE)),
            *("--model.autoencoder_channels", "[8, 16]", "--model.denoiser_channels", "[16, 32]"),
            *("--model.autoencoder_steps", "3", "--data.source", "UnlabelledFolder"),
            *("--data.source.path", str(train_folder), "--data.batch_size", "8", "--trainer.max_steps", "6"),
            *("--trainer.accelerator", "cpu", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"),
        ],
        "tune": [
            *("--output", str(output), "--images", str(train_folder), "--backbone", str(job.model), "--shots", "3"),
            *("--model.tuning.batch_size", "2", "--model.tuning.lr", "0.01", "--trainer.accelerator", "cpu"),
        ],
        "explore": [
            *("--output", str(output), "--device", "cpu", "--batch_size", "8"),
            *("--model.backbone", "StableDiffusion", "--model.backbone.model", str(job.model)),
            *("--model.steps", "2", "--model.inversion.steps", "2", "--model.inversion.warn_psnr", "0"),
            *("--images", str(train_folder)),
            *("--extractor", f"local-dir:{extractor_folder}"),
        ],
    }
    return {name: [str(path)] for name, path in folders.items()} | commands
