"""Pretraining on a few images: what it saves and shows, how it survives, and its parts."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIDE, Job, mtimes, start_program
from diffusers import DDIMScheduler, DDPMScheduler
from PIL import Image
from pretraining import LATENT, PIXEL, StoppedError, curve, options, pretrain, same, weights_of
from torch import Tensor

import augment.cli
from augment.backbones.pixel import PixelDiffusion
from augment.backbones.stable_diffusion import StableDiffusion
from augment.errors import UserError
from augment.images.pixels import to_float, to_tensor
from augment.images.sources import ImageFolder, UnlabelledFolder
from augment.pretrain.average import decay, update
from augment.pretrain.batches import NumberedBatches
from augment.pretrain.data import PretrainData, jitter
from augment.pretrain.latent import LatentDiffusion
from augment.pretrain.networks import build_text_encoder, build_tokenizer
from augment.pretrain.objective import SAMPLING_STEPS, ddim_sample, epsilon_loss, warmup_cosine
from augment.pretrain.pixel import DDPM
from augment.training.checkpoints import latest_checkpoint
from augment.training.pictures import smooth

BOTH_PHASES = [*((n, "reconstruction") for n in (1, 2, 3)), *((n, "epsilon") for n in (4, 5, 6))]


# What it makes.


def test_a_latent_model_that_synthesize_can_use(
    tmp_path: Path, train_folder: Path, test_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--data.source", "ImageFolder", "--data.source.path", str(train_folder)]
    model = pretrain(tmp_path / "a", train_folder, LATENT, *source, "--data.source.test_path", str(test_folder))
    assert "autoencoder alone" in capsys.readouterr().out
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "| autoencoder alone |" in card
    assert "| DDIM inversion and back, 50 steps |" in card
    assert not [file for file in model.rglob("*") if file.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]
    assert {value.dtype for value in weights_of(model).values()} == {torch.float16}
    assert len(list(Job(model, train_folder).synthesize(tmp_path / "out" / "set", per_class=1).glob("*.tar"))) == 1
    images = torch.stack([to_tensor(ImageFolder(train_folder).image(i), SIDE) for i in ImageFolder(train_folder).pool])
    assert float(StableDiffusion(str(model)).encode(images).std()) == pytest.approx(1, abs=0.02)


def test_a_pixel_model_that_its_backbone_can_use(
    tmp_path: Path, train_folder: Path, test_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.pretrain.card.MOST", 4)
    model = pretrain(tmp_path, train_folder, PIXEL, "--data.source.test_path", str(test_folder))
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "DDIM inversion and back, 20 steps" in card and "autoencoder" not in card
    assert "Reconstruction of 3 test images" in card  # every third of nine
    backbone = PixelDiffusion(str(model))
    assert backbone.latent_shape == (3, SIDE, SIDE)
    assert {value.dtype for value in weights_of(model).values()} == {torch.float16}
    assert curve(tmp_path) == [(n, "epsilon") for n in range(1, 7)]


def test_the_same_seed_the_same_model(tmp_path: Path, train_folder: Path) -> None:
    """However often pictures of progress are drawn."""
    one = weights_of(pretrain(tmp_path / "a", train_folder, LATENT))
    again = weights_of(pretrain(tmp_path / "b", train_folder, LATENT, "--checkpoint_every", "1"))
    other = weights_of(pretrain(tmp_path / "c", train_folder, LATENT, "--seed_everything", "1"))
    assert same(one, again)
    assert not same(one, other)


def test_progress_is_shown(tmp_path: Path, train_folder: Path) -> None:
    pretrain(tmp_path, train_folder, LATENT)
    assert curve(tmp_path) == BOTH_PHASES
    pictures = {path.name: Image.open(path).size for path in (tmp_path / "progress").glob("*-*.png")}
    tile = 64 + 2
    assert pictures == {
        "reconstructions-0000002.png": (8 * tile + 2, 2 * tile + 2),
        "samples-0000004.png": (8 * tile + 2, 4 * tile + 2),
        "samples-0000006.png": (8 * tile + 2, 4 * tile + 2),
    }
    assert (tmp_path / "progress" / "loss.png").stat().st_size > 1000
    assert not (tmp_path / "checkpoints").exists()


def test_mixed_precision_and_accumulated_gradients(tmp_path: Path, train_folder: Path) -> None:
    more = ["--trainer.precision", "bf16-mixed", "--trainer.accumulate_grad_batches", "2", "--data.batch_size", "4"]
    model = pretrain(tmp_path, train_folder, LATENT, *more)
    assert all(value.isfinite().all() for value in weights_of(model).values())
    assert curve(tmp_path) == BOTH_PHASES


# What is saved is the average, and a stopped run goes on.


def test_a_resumed_run_averages_over_all_steps_once(
    tmp_path: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail: dict[int, Tensor] = {}
    stop_at = [5, 0]

    def remember(model: DDPM, outputs: Any, batch: Any, batch_idx: int) -> None:
        trail[model.global_step] = model.unet.conv_in.weight.detach().clone()
        if model.global_step == stop_at[0]:
            raise StoppedError

    monkeypatch.setattr(DDPM, "on_train_batch_end", remember, raising=False)
    fast = ["--model.lr", "0.2", "--model.warmup_steps", "0"]
    with pytest.raises(StoppedError):
        pretrain(tmp_path, train_folder, PIXEL, *fast)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["0000004.ckpt"]
    stop_at.pop(0)
    lost = trail.pop(5)
    model = pretrain(tmp_path, train_folder, PIXEL, *fast)
    assert sorted(trail) == [1, 2, 3, 4, 5, 6]
    assert torch.equal(trail[5], lost)  # the same images and the same noise
    value = trail[1]
    for step in range(2, 7):
        value = decay(step - 1) * value + (1 - decay(step - 1)) * trail[step]
    saved = weights_of(model)["unet.conv_in.weight"].float()
    torch.testing.assert_close(saved, value, atol=1e-4, rtol=1e-3)
    assert (saved - trail[6]).abs().max() > 5e-3
    assert curve(tmp_path) == [(n, "epsilon") for n in range(1, 7)]


@pytest.mark.parametrize("model", [LATENT, PIXEL], ids=["latent", "pixel"])
def test_a_run_stopped_after_its_last_step_saves_the_same(
    model: list[str], tmp_path: Path, train_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = weights_of(pretrain(tmp_path / "a", train_folder, model))

    def full(self: Any, folder: Path) -> None:
        raise StoppedError

    with monkeypatch.context() as broken:
        for kind in (LatentDiffusion, DDPM):
            broken.setattr(kind, "save", full)
        with pytest.raises(StoppedError):
            pretrain(tmp_path / "b", train_folder, model)
    assert same(weights_of(pretrain(tmp_path / "b", train_folder, model)), undisturbed)


def test_a_card_that_was_not_written_is(tmp_path: Path, train_folder: Path) -> None:
    card = pretrain(tmp_path, train_folder, PIXEL) / "README.md"
    text, before = card.read_text(encoding="utf-8"), mtimes(tmp_path / "model" / "unet")
    card.unlink()
    pretrain(tmp_path, train_folder, PIXEL)
    assert card.read_text(encoding="utf-8") == text
    assert "Not measured: no test images were given." in text
    assert mtimes(tmp_path / "model" / "unet") == before


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_run_stopped_by_sigterm_is_continued(processes: str, tmp_path: Path, train_folder: Path) -> None:
    """By one process, however many there were; no step is lost or done twice."""
    more = ["--trainer.max_steps", "60", "--checkpoint_every", "5", "--model.autoencoder_steps", "30"]
    process = start_program("augment", options(tmp_path, train_folder, LATENT, *more, "--trainer.devices", processes))
    deadline = time.monotonic() + 120
    while not list((tmp_path / "checkpoints").glob("*.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert output.count("stopped by SIGTERM") == 1 and "Traceback" not in output
    reached = latest_checkpoint(tmp_path / "checkpoints")
    assert reached is not None and 5 <= int(reached.stem) < 60
    pretrain(tmp_path, train_folder, LATENT, *more)
    assert curve(tmp_path) == [(n, "reconstruction" if n <= 30 else "epsilon") for n in range(1, 61)]


def test_a_checkpoint_cut_short_does_not_count(tmp_path: Path) -> None:
    torch.save({"step": 2}, tmp_path / "0000002.ckpt")
    torch.save({"step": 10}, tmp_path / "0000010.ckpt")
    whole = (tmp_path / "0000010.ckpt").read_bytes()
    assert latest_checkpoint(tmp_path) == tmp_path / "0000010.ckpt"
    (tmp_path / "0000010.ckpt").write_bytes(whole[: len(whole) // 2])
    assert latest_checkpoint(tmp_path) == tmp_path / "0000002.ckpt"
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_a_finished_run_does_nothing(
    tmp_path: Path, train_folder: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    pretrain(tmp_path / "a", train_folder, PIXEL)
    before = mtimes(tmp_path)
    capsys.readouterr()
    pretrain(tmp_path / "a", train_folder, PIXEL)
    assert "is finished; nothing to do (choose another --output to train anew)" in capsys.readouterr().out
    error = fails(augment.cli.main, options(tmp_path / "a", train_folder, PIXEL, "--model.lr", "0.01"), 1)
    assert re.search(r"another configuration \(model\.init_args\.lr: 0\.0005 there, 0\.01 here\); choose", error)
    error = fails(augment.cli.main, options(tmp_path / "a", train_folder, PIXEL, "--trainer.max_steps", "5"), 1)
    assert "(trainer.max_steps: 6 there, 5 here)" in error
    assert mtimes(tmp_path) == before
    error = fails(augment.cli.main, options(tmp_path, train_folder, PIXEL), 1)
    assert "is not empty and holds no training; choose another --output" in error


# Several processes.


RECORDER = """
import sys, torch
from augment.cli import main
from augment.pretrain import LatentDiffusion
trail = []

def remember(model, outputs, batch, batch_idx):
    trail.append(model.unet.conv_in.weight.detach().clone())

def keep(model):  # the callbacks have put the average in place by now
    torch.save([*trail[3:], model.unet.conv_in.weight, model.latent_scale], f"{sys.argv[0]}.{model.global_rank}")

LatentDiffusion.on_train_batch_end, LatentDiffusion.on_train_end = remember, keep
main(sys.argv[1:])
"""


def test_two_processes_train_both_phases(tmp_path: Path, train_folder: Path) -> None:
    """Each has its half of a batch, one network without gradients in either phase, and the same average in the end."""
    script = tmp_path / "recorder.py"
    script.write_text(RECORDER)
    more = ["--trainer.devices", "2", "--model.denoiser_lr", "0.1"]
    command = [sys.executable, str(script), *options(tmp_path / "out", train_folder, LATENT, *more)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"recorder.py.{rank}", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    first, second, third, average, scale = one
    torch.testing.assert_close(average, (2 / 11 * first + 9 / 11 * second) * 0.25 + 0.75 * third)
    assert (average - third).abs().max() > 1e-4
    images = to_float(PretrainData(UnlabelledFolder(train_folder), 8, SIDE).images)
    backbone = StableDiffusion(str(tmp_path / "out" / "model"))
    assert float(backbone.encode(images).std()) == pytest.approx(1, abs=0.02)
    assert backbone.vae.config.scaling_factor == pytest.approx(float(scale))
    assert curve(tmp_path / "out") == BOTH_PHASES


def test_the_average_forgets_its_beginning() -> None:
    old, frozen = torch.zeros(3), torch.rand(3)
    averages, weights = [old, frozen.clone()], [torch.ones(3), frozen]
    assert [decay(n) for n in (1, 8, 10**6)] == pytest.approx([2 / 11, 0.5, 0.999])
    update(averages, weights, torch.tensor(8))
    assert torch.equal(averages[0], torch.full((3,), 0.5))
    assert torch.equal(averages[1], frozen)


def test_every_batch_of_every_process_has_noise_of_its_own() -> None:
    images = torch.arange(6)
    seeds = [seed for rank in (0, 1) for _, seed in islice(NumberedBatches(images, 2, 5, rank, 2), 4)]
    assert len(set(seeds)) == 8
    assert seeds[:4] == [seed for _, seed in islice(NumberedBatches(images, 2, 5), 4)]
    assert set(seeds).isdisjoint(seed for _, seed in islice(NumberedBatches(images, 2, 6), 4))


def test_an_epoch_has_each_image_once_for_any_number_of_processes() -> None:
    images = torch.arange(7)
    alone = [batch for batch, _ in islice(NumberedBatches(images, 2, 0), 6)]
    for epoch in (alone[:3], alone[3:]):
        assert len(set(torch.cat(epoch).tolist())) == 6  # one is left over
    assert torch.cat(alone[:3]).tolist() != torch.cat(alone[3:]).tolist()
    two = [islice(NumberedBatches(images, 2, 0, rank, 2), 6) for rank in (0, 1)]
    assert [torch.cat([a, b]).tolist() for (a, _), (b, _) in zip(*two, strict=True)] == [b.tolist() for b in alone]


def test_batches_go_on_where_they_were() -> None:
    whole, begun, resumed = (NumberedBatches(torch.arange(7), 2, 0) for _ in range(3))
    assert len(list(islice(begun, 4))) == 4
    resumed.load_state_dict(begun.state_dict())
    expected = [(batch.tolist(), seed) for batch, seed in islice(whole, 9)]
    assert [(batch.tolist(), seed) for batch, seed in islice(resumed, 5)] == expected[4:]


def test_a_batch_is_shared(train_folder: Path) -> None:
    data = PretrainData(ImageFolder(train_folder), batch_size=8, image_size=SIDE)
    data.trainer = type("TwoProcesses", (), {"world_size": 2, "global_rank": 1})()
    assert {len(images) for images, _ in islice(data.train_dataloader(), 3)} == {4}
    data.batch_size = 9
    with pytest.raises(UserError, match=r"data\.batch_size: 9 images cannot be shared by 2 processes; choose a multi"):
        data.train_dataloader()


# Mistakes.


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trainer.max_steps", "-1"], "trainer.max_steps: not given; the learning rate falls to 0 over them"),
        (["--trainer.max_steps", "3"], "trainer.max_steps: 3 steps end before the denoiser begins, at step 3"),
        (["--trainer.precision", "bf16-true"], "trainer.precision: bf16-true would round the averages; use 32-true"),
        (
            ["--model.denoiser_channels", "[16, 20]"],
            "model.denoiser_channels: [16, 20] are not all multiples of 16; choose such widths",
        ),
        (
            ["--model.image_size", "6"],
            "model.denoiser_channels: 2 levels cannot halve 3 pixels 1 times; give fewer levels, or another --model.im",
        ),
        (["--data.batch_size", "16"], "data.batch_size: 16 is more than the 15 images; lower it"),
        (["--data.source.path", "nowhere"], "source.path: no images below 'nowhere'; give a folder that has some"),
    ],
)
def test_trainings_that_cannot_end_well(
    more: list[str], message: str, tmp_path: Path, train_folder: Path, fails: Callable[..., str]
) -> None:
    error = fails(augment.cli.main, options(tmp_path, train_folder, LATENT, *more), 1)
    assert error.splitlines()[-1].startswith(f"augment pretrain: {message}")
    assert "Traceback" not in error


# The parts.


def test_unlabelled_images_at_any_depth(tmp_path: Path) -> None:
    for place in ("a.png", "deep/er/b.jpg", "notes.txt"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("no image") if place.endswith("txt") else Image.new("RGB", (9, 7)).save(
            tmp_path / place
        )
    source = UnlabelledFolder(tmp_path)
    assert [item.name for item in source.pool] == ["a.png", "deep/er/b.jpg"]
    assert (source.test, source.classes) == ((), ("image",))
    assert [item.split for item in UnlabelledFolder(tmp_path, tmp_path / "deep").test] == ["test"]
    (tmp_path / "bad.png").write_text("broken")
    broken = UnlabelledFolder(tmp_path)
    assert PretrainData(broken, image_size=4, skip_bad=True).images.shape == (2, 3, 4, 4)
    with pytest.raises(UserError, match=r"bad\.png': cannot be read"):
        _ = PretrainData(broken, image_size=4).images


def test_bytes_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, -1, -1)
    assert torch.equal(((to_float(every) + 1) * 127.5).round().to(torch.uint8), every)
    assert (to_float(every).min(), to_float(every).max()) == (-1, 1)


def test_the_epsilon_objective() -> None:
    """0 for whoever knows z_0, the noise's variance for whoever says nothing; every timestep is drawn."""
    scheduler = DDPMScheduler(num_train_timesteps=50)
    torch.manual_seed(0)
    z0, seen = torch.randn(4096, 1, 2, 2), []

    def oracle(z: Tensor, t: Tensor) -> Tensor:
        seen.append(t)
        abar = scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        return (z - abar.sqrt() * z0) / (1 - abar).sqrt()

    assert float(epsilon_loss(oracle, z0, scheduler)) < 1e-6
    assert float(epsilon_loss(lambda z, t: torch.zeros_like(z), z0, scheduler)) == pytest.approx(1, abs=0.05)
    counts = torch.bincount(seen[0], minlength=50)
    assert len(counts) == 50
    assert counts.min() > 4096 / 50 / 2 and counts.max() < 4096 / 50 * 2


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [warmup_cosine(step, first=10, last=110, warmup=4) for step in range(121)]
    assert set(rates[:10]) == {0.0}
    assert rates[10:14] == pytest.approx([0.25, 0.5, 0.75, 1.0], rel=0.01)
    assert rates[60] == pytest.approx(0.5)
    assert rates[110:] == pytest.approx([0.0] * 11, abs=1e-12)
    assert all(a > b for a, b in pairwise(rates[13:111]))


def test_samples_of_progress_are_diffusers_ddim() -> None:
    config = {"clip_sample": True, "num_train_timesteps": 1000}
    scheduler = DDIMScheduler(**config)
    scheduler.set_timesteps(SAMPLING_STEPS)
    z = noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def denoiser(z: Tensor, t: Tensor) -> Tensor:
        return 0.5 * z * (t.view(-1, 1, 1, 1) / 1000).cos()

    for time_ in scheduler.timesteps:
        z = scheduler.step(denoiser(z, time_.expand(2)), time_, z).prev_sample
    torch.testing.assert_close(ddim_sample(denoiser, noise, config, pixels=True), z, atol=1e-4, rtol=1e-4)


def test_smoothing_keeps_constants_and_stays_in_place() -> None:
    assert smooth((3.0,) * 7) == [3.0] * 7
    assert smooth((0.0, 0.0, 3.0, 0.0, 0.0)) == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert smooth((2.0,)) == [2.0]


def test_the_denoiser_learns_behind_a_frozen_autoencoder(train_folder: Path) -> None:
    model = LatentDiffusion(image_size=16, autoencoder_channels=(8, 16), denoiser_channels=(16, 32))
    model.log = lambda *_, **__: None
    model._denoiser_loss(torch.randn(4, 3, SIDE, SIDE)).backward()
    assert all(p.grad is None for p in model.vae.parameters())
    assert any(p.grad is not None for p in model.unet.parameters())


def test_both_networks_learn(train_folder: Path) -> None:
    """A few steps on one batch make either phase's loss smaller."""
    torch.manual_seed(0)
    model = LatentDiffusion(image_size=16, autoencoder_channels=(8, 16), denoiser_channels=(16, 32))
    images = to_float(PretrainData(ImageFolder(train_folder), 15, 16).images)
    for loss_of, network in ((model._autoencoder_loss, model.vae), (model._denoiser_loss, model.unet)):
        model.log = model.log_dict = lambda *_, **__: None
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
        losses = []
        for step in range(40):
            torch.manual_seed(step % 4)
            optimizer.zero_grad()
            loss = loss_of(images)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_every_text_has_tokens_and_comes_back() -> None:
    """No letter of any language is unknown: the vocabulary is bytes."""
    tokenizer = build_tokenizer()
    for text in ("a digit", "rød grød 狗", ""):
        ids = tokenizer(text, truncation=False).input_ids
        assert tokenizer.unk_token_id not in ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text
    assert len(tokenizer("x" * 99, truncation=True, padding="max_length").input_ids) == tokenizer.model_max_length


def test_text_encoder_tells_prompts_apart() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    encoder = build_text_encoder(tokenizer)
    tokens = tokenizer(["a digit", ""], padding="max_length", return_tensors="pt").input_ids
    prompt, empty = encoder(tokens)[0].detach()
    assert (prompt - empty).abs().max() > 0.1


def test_jitter_of_nothing_is_the_identity() -> None:
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(jitter(images, 0.0), images, atol=1e-5, rtol=0)


def test_jitter_moves_each_image_by_itself() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 8, 8)
    moved = jitter(image.expand(4, -1, -1, -1), 0.1)
    assert moved.shape == (4, 3, 8, 8)
    assert min((moved[a] - moved[b]).abs().max() for a in range(4) for b in range(a)) > 0.01
    assert moved.min() >= image.min() - 1e-5 and moved.max() <= image.max() + 1e-5
