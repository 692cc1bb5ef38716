"""With which settings is a finished model used? Those it was trained for, in a file that `--backbone FOLDER` reads."""

from pathlib import Path

import yaml

from augment.pretrain.base import Pretraining

FILE = "preset.yaml"


def write_preset(folder: Path, model: Pretraining, image_size: int) -> None:
    """Write the preset of a model beside its weights: the prompt it was trained with above all.

    Args:
        folder: Of the finished model.
        model: As it was trained.
        image_size: Height and width of its images in pixels.
    """
    weights = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    family = model.family
    preset = {
        "title": f"{model.kind}, {image_size} px",
        "license": "that of the images it was trained on",
        "download_gb": 0.0,
        "memory_gb": round(2 * weights / 1e9, 2),  # saved in half precision, run in float32
        "batch_size": 64,
        "model": {
            "backbone": {"class_path": f"{family.__module__}.{family.__qualname__}", "init_args": {"model": "."}},
            "prompt": model.prompt or "{class}",
            "steps": 50,
            "guidance": 1.0,
            "precision": "fp32",
            "inversion": {"kind": "ddim", "steps": 50, "guidance": 1.0, "batch_size": 50},
        },
        "classify": {
            "classifiers": {"resnet18": {"name": "resnet18", "lr": 1e-3}},
            "batches": {"batch_size": 64, "image_size": int(image_size)},
            "extractor": "inception",
        },
    }
    text = "# Settings that `--backbone` takes from this folder; whatever is given beside it wins.\n"
    (folder / FILE).write_text(text + yaml.safe_dump(preset, sort_keys=False, allow_unicode=True), encoding="utf-8")
