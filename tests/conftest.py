"""What the tests share: a tiny random-weight Stable Diffusion folder, a folder of images, and a finished dataset."""

import os

# Before torch is imported: bytes are compared between processes, and a sum's order depends on the threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augment.runtime.network import hub_is_reachable

torch.set_num_threads(1)

ROOT = Path(__file__).parent.parent
"""Of the repository."""

SIDE = 16
"""Height and width of the tiny model's images."""

COLOURS = {"blue sky": (40, 80, 200), "green.leaf": (50, 180, 60), "rød": (210, 40, 50)}
"""Class names with a space, a dot and a letter outside ASCII, in sorted order."""


def paint(path: Path, colour: Sequence[int], seed: int, size: tuple[int, int] = (24, 20)) -> None:
    """An image of one colour with noise, so that no two have the same content."""
    noise = np.random.default_rng(seed).integers(-40, 40, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_images(root: Path, count: int, first_seed: int, colours: dict[str, tuple[int, int, int]] = COLOURS) -> Path:
    for label, (name, colour) in enumerate(colours.items()):
        for n in range(count):
            paint(root / name / f"{n:02d}.png", colour, first_seed + 100 * label + n)
    return root


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained latent diffusion model in Stable Diffusion's folder format."""
    from augment.pretrain.latent import LatentDiffusion

    folder = tmp_path_factory.mktemp("models") / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LatentDiffusion(image_size=SIDE, autoencoder_channels=(8, 16), denoiser_channels=(16, 32)).save(folder)
    return folder


@pytest.fixture(scope="session")
def train_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images") / "train", count=5, first_seed=0)


@pytest.fixture(scope="session")
def test_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images") / "test", count=3, first_seed=5000)


@dataclass(frozen=True)
class Job:
    """The options of a small `augment synthesize`: 3 classes of 4 images in 3 shards of 2 batches."""

    model: Path
    images: Path

    def args(self, output: Path, *more: str, steps: int = 2, per_class: int = 4) -> list[str]:
        return [
            *("--output", str(output)),
            *("--model.backbone", "augment.backbones.stable_diffusion.StableDiffusion"),
            *("--model.backbone.model", str(self.model)),
            *("--model.prompt", "a photo of a {class}"),
            *("--model.steps", str(steps), "--model.inversion.steps", "2", "--model.inversion.warn_psnr", "0"),
            *("--data.source", "augment.images.sources.ImageFolder", "--data.source.path", str(self.images)),
            *("--shots", "3", "--per_class", str(per_class)),
            *("--data.plan.shard_size", "4", "--batch_size", "2"),
            *("--trainer.accelerator", "cpu"),
            *more,
        ]

    def synthesize(self, output: Path, *more: str, per_class: int = 4) -> Path:
        from augment.cli import main

        main(["synthesize", *self.args(output, *more, per_class=per_class)])
        return output


@pytest.fixture(scope="session")
def job(model_folder: Path, train_folder: Path) -> Job:
    return Job(model_folder, train_folder)


@pytest.fixture(scope="session")
def dataset(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset; tests read it and never change it (copy it first)."""
    return job.synthesize(tmp_path_factory.mktemp("datasets") / "done")


@pytest.fixture(scope="session")
def extractor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained timm model with its weights, in timm's own folder format."""
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("extractors") / "tinynet"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", pretrained=False, num_classes=3)
    network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, SIDE, SIDE), "num_classes": 3}
    save_for_hf(network, str(folder), model_config={"num_classes": 3}, safe_serialization=True)
    return folder


def sha256s(folder: Path) -> dict[str, str]:
    """Hash of every shard of a dataset folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


def leftovers(folder: Path) -> list[str]:
    """Hidden files of a dataset folder, but for the notes that committed shards have until it is finished."""
    notes = {f".{path.name}.sha256" for path in folder.glob("*.tar")}
    return sorted({path.name for path in folder.glob(".*")} - notes)


def mtimes(folder: Path) -> dict[str, int]:
    """Time stamp of every file below a folder."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}


def start_program(program: str, args: Sequence[str]) -> subprocess.Popen[str]:
    """The installed console script in a process of its own."""
    command = [str(Path(sys.executable).parent / program), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run_program(program: str, args: Sequence[str]) -> None:
    process = start_program(program, args)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a main that must fail with the given exit code, and return what it printed to standard error."""

    def run(main: Callable[[Sequence[str]], None], args: Sequence[str], code: int) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(args)
        error = capsys.readouterr().err
        assert exit_.value.code == code, error
        return error

    return run


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The Hub is at an address where nobody answers."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub_is_reachable.cache_clear()
    yield
    hub_is_reachable.cache_clear()
