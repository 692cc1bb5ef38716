"""What the tests of pretraining share: two small models, their options, and a look at what was trained."""

import csv
from pathlib import Path

import torch
from conftest import SIDE
from safetensors.torch import load_file
from torch import Tensor

import augment.cli

LATENT = [
    *("--model", "LatentDiffusion", "--model.image_size", str(SIDE), "--model.autoencoder_channels", "[8, 16]"),
    *("--model.denoiser_channels", "[16, 32]", "--model.autoencoder_steps", "3"),
]
PIXEL = ["--model", "DDPM", "--model.image_size", str(SIDE), "--model.channels", "[16, 32]"]


def options(output: Path, train: Path, model: list[str], *more: str) -> list[str]:
    """Six steps of eight images, without test images, so that no time goes into the model card."""
    return [
        *("pretrain", "--output", str(output), *model),
        *("--data.source", "UnlabelledFolder", "--data.source.path", str(train), "--data.batch_size", "8"),
        *("--trainer.max_steps", "6", "--trainer.log_every_n_steps", "1", "--checkpoint_every", "2"),
        *("--trainer.accelerator", "cpu", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"),
        *("--trainer.enable_model_summary", "false", *more),
    ]


def pretrain(output: Path, train: Path, model: list[str], *more: str) -> Path:
    augment.cli.main(options(output, train, model, *more))
    return output / "model"


def weights_of(model: Path) -> dict[str, Tensor]:
    files = sorted(model.rglob("*.safetensors"))
    return {f"{file.parent.name}.{name}": value for file in files for name, value in load_file(file).items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def curve(output: Path) -> list[tuple[int, str]]:
    with (output / "progress" / "loss.csv").open() as stream:
        return [(int(row["step"]), row["loss"]) for row in csv.DictReader(stream)]


class StoppedError(Exception):
    """In place of a kill."""
