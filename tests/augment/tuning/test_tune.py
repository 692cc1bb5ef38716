"""`augment tune` on a few images: what it learns and saves, how it survives, and what it refuses."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import SIDE, Job, make_images, mtimes
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from tiny_families import save_sd3, save_sdxl
from tiny_flows import save_flux2, save_prx, save_z_image
from torch import Tensor

import augment.cli
from augment.backbones.flux2_klein import Flux2Klein
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.stable_diffusion_3 import StableDiffusion3
from augment.backbones.stable_diffusion_xl import StableDiffusionXL
from augment.backbones.start import Start
from augment.backbones.tuned import read_tuning
from augment.backbones.z_image import ZImage
from augment.dataset.manifest import read_manifest
from augment.images.sources import ImageFolder
from augment.tuning.data import TuningData
from augment.tuning.settings import TuningSettings
from augment.tuning.tuner import Tuner

SMALL = ("--model.backbone.resolution", str(SIDE), "--model.backbone.prompt_tokens", "48")
"""Of families whose checkpoints do not say the size of their images."""


def options(output: Path, model: Path, images: Path, *more: str) -> list[str]:
    """Six steps on nine images of three classes."""
    return [
        *("tune", "--output", str(output), "--images", str(images), "--backbone", str(model), "--shots", "3"),
        *("--steps", "6", "--batch_size", "2", "--lr", "0.01", "--rank", "2", "--checkpoint_every", "2"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", *more),
    ]


def tune(*arguments: Any) -> Path:
    augment.cli.main(options(*arguments))
    return Path(arguments[0])


def weights_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.safetensors"))}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, train_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "mine"
    return tune(folder, model_folder, train_folder, "--text_encoders", "--crop", "0.8", "--flip")


# What it makes.


def test_what_it_leaves(tuned: Path) -> None:
    assert sorted(path.name for path in (tuned / "tokens").iterdir()) == [
        "0000-blue-sky.safetensors",
        "0001-green-leaf.safetensors",
        "0002-r-d.safetensors",
    ]
    card = (tuned / "README.md").read_text(encoding="utf-8")
    assert "9 real images of 3 classes, 6 optimizer steps" in card and "`<blue-sky>`" in card
    assert {path.name for path in (tuned / "progress").iterdir()} == {
        "loss.csv",
        "loss.png",
        *(f"samples-{step:07d}.png" for step in (2, 4, 6)),
    }
    assert not (tuned / "checkpoints").exists()
    assert not [path for path in tuned.rglob("*") if path.suffix in {".bin", ".pt", ".ckpt", ".pkl"}]


@torch.no_grad()
def test_diffusers_reads_its_files_untouched(tuned: Path, model_folder: Path) -> None:
    """By `load_lora_weights` and `load_textual_inversion`, and to the same images as our backbone."""
    pipe = StableDiffusionPipeline.from_pretrained(model_folder, safety_checker=None).to(dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    for file in sorted((tuned / "tokens").iterdir()):
        pipe.load_textual_inversion(file)
    pipe.load_lora_weights(tuned)
    plain, ours = StableDiffusion(str(model_folder)), StableDiffusion(str(model_folder), tuned=str(tuned))
    latents = torch.randn(1, *ours.latent_shape, generator=torch.Generator().manual_seed(0))
    prompt = "a <blue-sky>"
    theirs = pipe(
        prompt,
        latents=latents,
        num_inference_steps=3,
        guidance_scale=2.0,
        height=SIDE,
        width=SIDE,
        output_type="latent",
    ).images
    start = Start(latents, (prompt,))
    torch.testing.assert_close(ours.denoise(start, 3, 2.0), theirs, atol=1e-4, rtol=1e-4)
    assert (plain.denoise(start, 3, 2.0) - theirs).abs().max() > 1e-2


def test_what_is_saved_is_what_was_trained(
    tmp_path: Path, model_folder: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of the text encoder and vectors of the new words among them."""
    seen: dict[str, Tensor] = {}

    def look(self: Tuner, trainer: L.Trainer | None = None) -> None:
        with torch.no_grad():
            condition = self.backbone.encode_prompt("a <blue-sky>")
            z = torch.ones(1, *self.backbone.latent_shape)
            seen.update(embeddings=condition.embeddings, output=self.backbone.predict(z, 501, condition))

    monkeypatch.setattr(Tuner, "on_train_end", look, raising=False)
    folder = tune(tmp_path / "t", model_folder, train_folder, "--text_encoders", "--layers", "all")
    ours = StableDiffusion(str(model_folder), tuned=str(folder))
    with torch.no_grad():
        condition = ours.condition(["a <blue-sky>"])
        output = ours.predict(torch.ones(1, *ours.latent_shape), 501, condition)
    torch.testing.assert_close(condition.embeddings, seen["embeddings"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output, seen["output"], atol=1e-4, rtol=1e-4)


def test_synthesize_uses_it(tuned: Path, tmp_path: Path, train_folder: Path) -> None:
    """Without being told the backbone or the prompt again; it is part of the recipe and of the bank's name."""
    words = ["--tuned", str(tuned), "--images", str(train_folder), "--shots", "3", "--per_class", "1", "--steps", "2"]
    augment.cli.main(["synthesize", *words, "--output", str(tmp_path / "set"), "--trainer.accelerator", "cpu"])
    config = read_manifest(tmp_path / "set")["config"]
    assert "+tuned@" in config["backbone"]
    assert config["prompt"] == "a photo of a {token}"
    assert [path.name for path in (tmp_path / "bank").iterdir()] == [config["backbone"]]


@pytest.mark.parametrize(
    ("family", "save", "more"),
    [
        (StableDiffusionXL, save_sdxl, ("--text_encoders", "--prior_images", "1")),
        (StableDiffusion3, save_sd3, ("--text_encoders",)),
        (Flux2Klein, save_flux2, SMALL),
        (ZImage, save_z_image, SMALL),
    ],
)
def test_every_family_with_lora_weights_is_tuned_and_read_by_its_own_pipeline(
    tmp_path: Path, train_folder: Path, family: Any, save: Callable[[Path], Path], more: tuple[str, ...]
) -> None:
    model = save(tmp_path / "model")
    folder = tune(tmp_path / "tuned", model, train_folder, "--steps", "2", *more)
    assert "{class}" in read_tuning(folder)["prompt"]
    assert not (folder / "tokens").exists()
    size = {} if more is not SMALL else {"resolution": SIDE, "prompt_tokens": 48}
    plain, ours, theirs = (family(str(model), tuned=tuned, **size) for tuned in (None, str(folder), None))
    theirs.pipeline.load_lora_weights(folder)
    z = torch.ones(1, *ours.latent_shape)
    with torch.no_grad():
        output, expected, before = (
            backbone.predict(z, 501, backbone.encode_prompt("an owl")) for backbone in (ours, theirs, plain)
        )
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)
    assert (output - before).abs().max() > 1e-4


def test_a_family_without_lora_files(tmp_path: Path, train_folder: Path, fails: Callable[..., str]) -> None:
    error = fails(augment.cli.main, options(tmp_path / "t", save_prx(tmp_path / "prx"), train_folder), 1)
    assert "diffusers has no LoRA weights for PRXPipeline; choose another --backbone" in error


def test_a_training_lowers_its_loss(tmp_path: Path, model_folder: Path, train_folder: Path) -> None:
    more = ["--steps", "40", "--layers", "all", "--checkpoint_every", "40", "--trainer.log_every_n_steps", "10"]
    folder = tune(tmp_path / "t", model_folder, train_folder, *more)
    losses = [float(line.split(",")[2]) for line in (folder / "progress" / "loss.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.9 * losses[0]


# How it survives.


class StoppedError(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("more", [(), ("--prior_images", "2", "--gradient_checkpointing")], ids=["plain", "prior"])
def test_an_interrupted_run_ends_in_the_same_bytes(
    tmp_path: Path, model_folder: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    whole = weights_of(tune(tmp_path / "whole", model_folder, train_folder, *more))
    step = Tuner.training_step

    def stops(self: Tuner, batch: Any, batch_idx: int) -> Tensor:
        if self.global_step == 3:
            raise StoppedError
        return step(self, batch, batch_idx)

    with monkeypatch.context() as stopped, pytest.raises(StoppedError):
        stopped.setattr(Tuner, "training_step", stops)
        tune(tmp_path / "broken", model_folder, train_folder, *more)
    assert [path.name for path in (tmp_path / "broken" / "checkpoints").iterdir()] == ["0000002.ckpt"]
    assert weights_of(tune(tmp_path / "broken", model_folder, train_folder, *more)) == whole


def test_another_seed_other_weights(tmp_path: Path, tuned: Path, model_folder: Path, train_folder: Path) -> None:
    more = ["--text_encoders", "--crop", "0.8", "--flip"]
    again = tune(tmp_path / "again", model_folder, train_folder, *more)
    other = tune(tmp_path / "other", model_folder, train_folder, *more, "--seed", "1")
    assert weights_of(again) == weights_of(tuned) != weights_of(other)


def test_a_checkpoint_is_small(tmp_path: Path, model_folder: Path, train_folder: Path) -> None:
    """It holds what is trained and its optimizer, not the backbone."""
    tuner = Tuner(StableDiffusion(str(model_folder)), TuningSettings(prompt="a {token}"))
    data = TuningData(ImageFolder(str(train_folder)), shots=1, image_size=SIDE)
    tuner.prepare(data)
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(tuner, datamodule=data)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    kept = torch.load(tmp_path / "one.ckpt", weights_only=True)["state_dict"]
    assert kept and all("lora" in name or name == "tokens.vectors" for name in kept)


def test_a_finished_run_does_nothing(
    tuned: Path, model_folder: Path, train_folder: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    before = mtimes(tuned)
    capsys.readouterr()
    more = ["--text_encoders", "--crop", "0.8", "--flip"]
    tune(tuned, model_folder, train_folder, *more)
    assert "is finished; nothing to do" in capsys.readouterr().out
    assert mtimes(tuned) == before
    error = fails(augment.cli.main, options(tuned, model_folder, train_folder, *more, "--lr", "0.1"), 1)
    assert "holds a tuning of another configuration (lr" in error


def test_two_processes_share_the_work(tmp_path: Path, model_folder: Path, train_folder: Path) -> None:
    """Each draws images of its own, so that two learn other weights than one."""
    words = options(tmp_path / "two", model_folder, train_folder, "--devices", "2", "--steps", "2")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "augment"), *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    one = tune(tmp_path / "one", model_folder, train_folder, "--steps", "2")
    two = weights_of(tmp_path / "two")
    assert two.keys() == weights_of(one).keys() and two != weights_of(one)
    learned = load_file(tmp_path / "two" / "pytorch_lora_weights.safetensors")
    assert all(torch.isfinite(value).all() for value in learned.values())


# What it refuses.


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--crop", "1.5"], r"tuning\.crop: 1\.5 is no share of a side; give a number up to 1"),
        (["--prompt", "a photo", "--model.tuning.lora", "null"], "nothing is trained"),
        (["--steps", "0"], "0 does not conform to restriction v>0"),
        (["--shots", "9"], "class 'blue sky' has 5 images, fewer than 9; lower --shots"),
        (["--trainer.precision", "16-mixed"], "use --precision"),
        (["--backbone", "ddpm"], "'ddpm' is no preset and no folder; presets are digits, "),
    ],
)
def test_bad_input(
    tmp_path: Path, model_folder: Path, train_folder: Path, fails: Callable[..., str], more: list[str], said: str
) -> None:
    words = options(tmp_path / "t", model_folder, train_folder, *more)
    error = fails(augment.cli.main, words, 2 if more[0] in ("--backbone", "--steps") else 1)
    assert re.search(said, error) and error.count("\n") == 1, error
    assert not (tmp_path / "t").exists()


def test_classes_that_would_share_a_word(tmp_path: Path, model_folder: Path, fails: Callable[..., str]) -> None:
    images = make_images(tmp_path / "images", 3, 0, {"a b": (1, 2, 3), "a-b": (90, 80, 70)})
    error = fails(augment.cli.main, options(tmp_path / "t", model_folder, images), 1)
    assert "classes 'a b' and 'a-b' would share the new word <a-b>; rename one of them" in error


def test_a_few_shot_set_that_it_was_not_tuned_on(
    tuned: Path, job: Job, tmp_path: Path, train_folder: Path, fails: Callable[..., str]
) -> None:
    words = ["--tuned", str(tuned), "--images", str(train_folder), "--trainer.accelerator", "cpu", "--per_class", "1"]
    command = ["synthesize", *words, "--output", str(tmp_path / "set"), "--shots"]
    assert "was tuned on other images of class 'blue sky'" in fails(augment.cli.main, [*command, "2"], 1)
    error = fails(augment.cli.main, [*command, "3", "--seed", "1"], 1)
    assert "give the same --shots, --seed and images as to `augment tune`" in error
    error = fails(augment.cli.main, ["synthesize", *job.args(tmp_path / "set", "--prompt", "a {token}")], 1)
    assert "has {token}, and no such word was learned" in error


def test_a_folder_that_is_no_finished_tuning(
    tuned: Path, tmp_path: Path, model_folder: Path, fails: Callable[..., str]
) -> None:
    command = ["synthesize", "--output", str(tmp_path / "set"), "--tuned"]
    assert "holds no tuning.json; give a folder that `augment tune` wrote" in fails(
        augment.cli.main, [*command, str(tmp_path / "nothing")], 2
    )
    half = shutil.copytree(tuned, tmp_path / "half")
    (half / "README.md").unlink()
    assert "is not finished; run its `augment tune` to the end" in fails(augment.cli.main, [*command, str(half)], 2)
    (half / "tuning.json").write_text("{}")
    assert "tuning.json' has no 'config'" in fails(augment.cli.main, [*command, str(half)], 2)
    other = [*command, str(tuned), "--backbone", "digits", "--images", "digits"]
    assert re.search("was tuned on tiny@.*, this is digits@.*; give the backbone", fails(augment.cli.main, other, 1))


# One tuning for each class.


@pytest.fixture(scope="module")
def tuned_apart(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, train_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "apart"
    return tune(folder, model_folder, train_folder, "--scope", "class")


@torch.no_grad()
def test_each_class_has_the_weights_of_its_own_tuning(tuned_apart: Path, model_folder: Path) -> None:
    """Also side by side in one batch, and in the branch without a prompt; each folder is a tuning by itself."""
    parts = sorted((tuned_apart / "classes").iterdir())
    assert [part.name for part in parts] == ["0000-blue-sky", "0001-green-leaf", "0002-r-d"]
    ours = StableDiffusion(str(model_folder), tuned=str(tuned_apart))
    latents = torch.randn(3, *ours.latent_shape, generator=torch.Generator().manual_seed(0))
    prompts = ("a <blue-sky>", "a <r-d>", "a <blue-sky>")
    together = ours.denoise(Start(latents, prompts), 3, 2.0)
    for row, part in enumerate([parts[0], parts[2], parts[0]]):
        alone = StableDiffusion(str(model_folder), tuned=str(part))
        start = Start(latents[row : row + 1], prompts[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone.denoise(start, 3, 2.0), atol=1e-4, rtol=1e-4)
        other = StableDiffusion(str(model_folder), tuned=str(parts[1]))
        other_way = other.denoise(Start(latents[row : row + 1], ("a",)), 3, 1.0)
        assert (other_way - alone.denoise(Start(latents[row : row + 1], ("a",)), 3, 1.0)).abs().max() > 1e-3


def test_a_dataset_of_classes_tuned_apart(tuned_apart: Path, tmp_path: Path, train_folder: Path) -> None:
    """Inverted and sampled; a prompt that does not name its class is refused, as is another few-shot set."""
    words = ["--tuned", str(tuned_apart), "--images", str(train_folder), "--shots", "3", "--per_class", "1"]
    more = ["--steps", "2", "--output", str(tmp_path / "set"), "--trainer.accelerator", "cpu"]
    augment.cli.main(["synthesize", *words, *more])
    config = read_manifest(tmp_path / "set")["config"]
    assert "+tuned@" in config["backbone"] and config["prompt"] == "a photo of a {token}"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--prompt", "a photo"], r"model\.prompt: 'a photo' names no class.*put \{token\} or \{class\} into it"),
        (["--prompt", "a <r-d>, {class}"], r"model\.prompt: .* names another class than 'blue sky'; put \{token\}"),
    ],
)
def test_prompts_that_do_not_name_their_class(
    tuned_apart: Path, tmp_path: Path, train_folder: Path, fails: Callable[..., str], more: list[str], words: str
) -> None:
    args = ["--tuned", str(tuned_apart), "--images", str(train_folder), "--shots", "3", "--steps", "2", *more]
    error = fails(augment.cli.main, ["synthesize", *args, "--output", str(tmp_path / "set")], 1)
    assert re.search(words, error)


def test_a_killed_tuning_of_classes_goes_on(
    tuned_apart: Path, tmp_path: Path, model_folder: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the class that it had come to; what was finished is not made again."""
    step = Tuner.training_step

    def stop(self: Tuner, batch: Any, batch_idx: int) -> Tensor:
        if self.data.classes == ("green.leaf",) and self.global_step == 3:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    words = (tmp_path / "t", model_folder, train_folder, "--scope", "class")
    monkeypatch.setattr(Tuner, "training_step", stop)
    with pytest.raises(SystemExit):
        tune(*words)
    monkeypatch.undo()
    before = mtimes(tmp_path / "t" / "classes" / "0000-blue-sky")
    tune(*words)
    assert mtimes(tmp_path / "t" / "classes" / "0000-blue-sky") == before
    assert weights_of(tmp_path / "t") == weights_of(tuned_apart)
    assert tune(*words).is_dir(), "and again: nothing to do"


def test_text_encoders_belong_to_all_classes(tmp_path: Path, model_folder: Path, train_folder: Path) -> None:
    folder = tune(tmp_path / "t", model_folder, train_folder, "--scope", "class", "--text_encoders", "--steps", "2")
    ours = StableDiffusion(str(model_folder), tuned=str(folder))
    empty = ours.unconditional(["a <blue-sky>", "a <r-d>"]).embeddings
    assert not torch.equal(empty[0], empty[1]), "each class has its own empty prompt"


@pytest.mark.parametrize(("more", "steps"), [(["--prior_images", "3"], "6"), (["--scope", "class"], "18")])
def test_a_dry_run_says_what_it_would_take_and_writes_nothing(
    tmp_path: Path,
    model_folder: Path,
    train_folder: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    steps: str,
) -> None:
    augment.cli.main(options(tmp_path / "t", model_folder, train_folder, "--dry_run", *more))
    printed = capsys.readouterr().out
    assert re.search(rf"optimizer steps +│ +{steps} ", printed) and "seconds per step" in printed
    assert ("tunings, one for each class" in printed) == (steps == "18")
    assert not (tmp_path / "t").exists()
