"""Memory that runs out, batch sizes, profiles and dry runs."""

import json
import logging
import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job, sha256s

from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.start import Sampler, Start
from augment.cli import main
from augment.dataset.shard_writer import note_path
from augment.errors import UserError
from augment.runtime.out_of_memory import Halving
from augment.runtime.profile import StageProfiler
from augment.synthesis.batch_size import Timing, fastest_batch_size
from augment.synthesis.synthesizer import Synthesizer

Fails = Callable[..., str]


def too_much(rows: int) -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError(f"tried to allocate {rows} images")


def test_halving_covers_every_row_once_and_remembers(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[int] = []

    def step(rows: slice) -> list[int]:
        tried.append(rows.stop - rows.start)
        if tried[-1] > 3:
            raise too_much(tried[-1])
        return list(range(rows.start, rows.stop))

    halving: Halving[list[int]] = Halving("denoising", "plan.batch_size")
    assert list(chain.from_iterable(halving(step, 14))) == list(range(14))
    assert tried == [14, 7, 3, 3, 3, 3, 2]
    assert halving.fitted == 3
    (said,) = caplog.records
    assert said.getMessage() == (
        "out of memory while denoising; going on with 3 images at a time (plan.batch_size=3 would have fitted)"
    )
    tried.clear()
    caplog.clear()
    assert list(chain.from_iterable(halving(step, 5))) == list(range(5))
    assert tried == [3, 2] and not caplog.text


def test_not_even_one_image_fits() -> None:
    def step(rows: slice) -> None:
        raise too_much(1)

    with pytest.raises(UserError, match=r"out of memory while decoding a single image \(tried to allocate 1 images\)"):
        Halving("decoding", "plan.batch_size")(step, 4)


def test_halving_passes_other_errors_on() -> None:
    def step(rows: slice) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        Halving("decoding", "plan.batch_size")(step, 4)


def test_a_run_out_of_memory_goes_on_and_says_so(
    job: Job, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Batches of two cut into ones: the same images up to rounding, and run.json tells."""
    denoise = StableDiffusion.denoise

    def small(self: StableDiffusion, start: Start, *more: Any) -> torch.Tensor:
        if len(start.latent) > 1:
            raise too_much(len(start.latent))
        return denoise(self, start, *more)

    folder = job.synthesize(tmp_path / "first" / "set")
    assert json.loads((folder / "run.json").read_text())["batch_size_that_fitted"] is None
    inverted = tmp_path / "first" / "bank"
    monkeypatch.setattr(StableDiffusion, "denoise", small)
    job.synthesize(tmp_path / "set", "--data.bank", str(next(inverted.iterdir())))
    assert json.loads((tmp_path / "set" / "run.json").read_text())["batch_size_that_fitted"] == {"denoising": 1}
    assert len([r for r in caplog.records if "out of memory while denoising" in r.getMessage()]) == 1
    assert sha256s(tmp_path / "set").keys() == sha256s(dataset).keys()


def test_inversion_out_of_memory_goes_on(
    job: Job, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    invert = StableDiffusion.invert

    def small(self: StableDiffusion, latents: torch.Tensor, *more: Any) -> Any:
        if len(latents) > 2:
            raise too_much(len(latents))
        return invert(self, latents, *more)

    monkeypatch.setattr(StableDiffusion, "invert", small)
    job.synthesize(tmp_path / "set")
    assert "out of memory while inverting; going on with 2 images at a time" in caplog.text
    assert "(inversion.batch_size=2 would have fitted)" in caplog.text
    assert json.loads((tmp_path / "set" / "run.json").read_text())["batch_size_that_fitted"] == {"inverting": 2}
    assert len(list((tmp_path / "bank").rglob("*.safetensors"))) == 9


@pytest.mark.parametrize(
    ("seconds", "largest", "expected"),
    [
        ({1: 1.0, 2: 0.6, 4: 0.5, 8: 0.49, 16: 0.49, 32: 0.49, 64: 0.49}, 64, 4),
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0, 32: 1.0, 64: 1.0}, 64, 1),
        ({1: 1.0, 2: 0.5, 4: 0.25, 8: 0.125}, 8, 8),
        ({}, 0, 1),
    ],
    ids=["saturates", "no gain", "memory ends", "nothing fits"],
)
def test_the_smallest_batch_that_is_nearly_as_fast(
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: dict[int, float],
    largest: int,
    expected: int,
) -> None:
    def timed(model: Synthesizer, size: int, prompt: str) -> Timing:
        if size > largest:
            raise too_much(size)
        return Timing(seconds[size] / 100, 0.0, torch.zeros(0))

    monkeypatch.setattr("augment.synthesis.batch_size.time_batch", timed)
    assert fastest_batch_size(Synthesizer(StableDiffusion(str(model_folder))), 100, "a") == expected


def test_auto_is_decided_once_per_dataset(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    monkeypatch.setattr("augment.synthesis.batch_size.fastest_batch_size", lambda model, evaluations, prompt: 4)
    folder = job.synthesize(tmp_path / "set", "--batch_size", "auto")
    assert json.loads((folder / "dataset.json").read_text())["config"]["plan"]["batch_size"] == 4
    monkeypatch.setattr("augment.synthesis.batch_size.fastest_batch_size", lambda model, evaluations, prompt: 1)
    hashes = sha256s(folder)
    (folder / "train-000001.tar").unlink()
    job.synthesize(folder, "--batch-size", "auto")
    assert sha256s(folder) == hashes
    same = job.synthesize(tmp_path / "same", "--batch_size", "4")
    assert sha256s(same) == hashes
    assert "batch_size: 4 there, 2 here" in fails(main, ["synthesize", *job.args(folder)], 1)


def test_stages_are_added_up_and_what_lightning_profiles_is_left_out() -> None:
    profiler = StageProfiler()
    for name in ("write", "denoise", "[Strategy]SingleDeviceStrategy.predict_step", "denoise"):
        with profiler.profile(name):
            pass
    report = profiler.report(total=10.0)
    assert list(report) == ["denoise", "write", "other"]
    assert report["other"] == pytest.approx(10.0 - profiler.seconds["denoise"])


def test_a_run_that_is_not_profiled_never_waits_for_the_device(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(name: str) -> float:
        raise AssertionError(name)

    monkeypatch.setattr(StageProfiler, "_now", staticmethod(wait))
    folder = job.synthesize(tmp_path / "set", per_class=1)
    assert json.loads((folder / "run.json").read_text())["profile"] is None
    assert "where" not in capsys.readouterr().out


def test_profile_says_where_the_seconds_went(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job.synthesize(tmp_path / "set", "--profile")
    stages = ["encode", "invert", "round trip", "mix", "denoise", "decode", "wait", "write", "other"]
    printed = capsys.readouterr().out
    assert [name for name in stages if re.search(rf"│ {name}", printed)] == stages
    profile = json.loads((tmp_path / "set" / "run.json").read_text())["profile"]
    assert list(profile) == stages and all(value >= 0 for value in profile.values())


def test_a_dry_run_counts_and_writes_nothing(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = job.args(tmp_path / "set", "--model.guidance", "3", "--dry-run", "--trainer.devices", "2")
    main(["synthesize", *options, "--trainer.strategy", "ddp"])
    printed = capsys.readouterr().out
    # 12 images x 2 steps x 2 branches; 9 inversions of 2 steps there and 2 back, without guidance.
    for row in (
        r"images to make +│ +12 ",
        r"images to invert +│ +9 ",
        r"guidance\) +│ +84 ",
        r"images at a time +│ +2 ",
        r"estimated time on 2 devices +│ +[\d.]+ min",
        r"disk, at most +│ 0\.000 GB of [\d.]+ GB free",
    ):
        assert re.search(row, printed), (row, printed)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_what_would_be_refused_is_refused(job: Job, tmp_path: Path, fails: Fails) -> None:
    folder = job.synthesize(tmp_path / "set")
    assert "steps: 2 there, 3 here" in fails(main, ["synthesize", *job.args(folder, "--dry-run", steps=3)], 1)
    unknowable = job.args(tmp_path / "new", "--dry-run", "--method", "text2img", "--model.prompt", "a photo")
    assert "model.prompt: 'a photo' is the same for all 3 classes" in fails(main, ["synthesize", *unknowable], 1)


def test_a_dry_run_of_an_interrupted_dataset_counts_what_is_left(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = job.synthesize(tmp_path / "set")
    (folder / "train-000001.tar").unlink()
    manifest = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    for name, facts in manifest["shards"].items():  # the hashes as they were noted when the shards were committed
        note_path(folder / name).write_text(facts["sha256"])
    (folder / "dataset.json").write_text(json.dumps(manifest | {"shards": {}}))
    capsys.readouterr()
    main(["synthesize", *job.args(folder, "--dry-run")])
    assert re.search(r"images to make +│ +4 ", capsys.readouterr().out)
    main(["synthesize", *job.args(folder, "--dry-run", "--seed", "1", "--overwrite")])
    assert re.search(r"images to make +│ +12 ", capsys.readouterr().out)


def test_a_dry_run_knows_how_far_an_image_is_noised(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 images of half of 4 steps; encoding asks the denoiser nothing."""
    main(["synthesize", *job.args(tmp_path / "set", "--method", "sdedit", "--dry-run", steps=4)])
    assert re.search(r"guidance\) +│ +24 ", capsys.readouterr().out)


def test_auto_forgets_the_batch_size_of_a_dataset_that_is_deleted(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.synthesis.batch_size.fastest_batch_size", lambda model, evaluations, prompt: 1)
    folder = job.synthesize(tmp_path / "set")
    job.synthesize(folder, "--batch_size", "auto", "--seed", "1", "--overwrite")
    assert json.loads((folder / "dataset.json").read_text())["config"]["plan"]["batch_size"] == 1


def test_a_dry_run_leaves_out_what_is_there(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = job.synthesize(tmp_path / "set")
    (folder / "train-000001.tar").unlink()
    capsys.readouterr()
    main(["synthesize", *job.args(folder, "--dry-run")])
    printed = capsys.readouterr().out
    assert re.search(r"images to make +│ +4 ", printed) and re.search(r"images to invert +│ +0 ", printed)
    assert not (folder / "train-000001.tar").exists()


@pytest.mark.parametrize(("guidance", "until", "evaluations"), [(1, 1.0, 4), (3, 1.0, 8), (3, 0.6, 7)])
def test_network_evaluations_of_an_image(model_folder: Path, guidance: float, until: float, evaluations: int) -> None:

    backbone = StableDiffusion(str(model_folder))
    model = Synthesizer(backbone, steps=4, guidance=guidance, sampler=Sampler(guidance_interval=(0.0, until)))
    assert model.evaluations_per_image() == evaluations
    assert model.evaluations_per_image((0.5, 1.0)) == (model.evaluations_per_image(0.5) + evaluations) / 2
    backbone.denoise(Start(torch.zeros(1, *backbone.latent_shape), ("a",)), 4, guidance, model.sampler)
    assert backbone.evaluations == evaluations


@pytest.mark.slow
def test_a_compiled_denoiser_makes_the_same_images_up_to_rounding(model_folder: Path) -> None:
    backbone = StableDiffusion(str(model_folder))
    start = Start(torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0)), ("a", "b"))
    plain = backbone.denoise(start, 2, 3.0)
    backbone.compile_denoiser()
    assert torch.allclose(backbone.denoise(start, 2, 3.0), plain, atol=1e-4)


def test_compiling_is_part_of_the_configuration(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(StableDiffusion, "compile_denoiser", lambda self: compiled.append(self))
    folder = job.synthesize(tmp_path / "set", "--compile")
    assert len(compiled) == 1  # once for inversion and sampling
    assert json.loads((folder / "dataset.json").read_text())["config"]["compile"] is True


def test_tf32_is_float32_but_for_the_products(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    model = Synthesizer(StableDiffusion(str(model_folder)), precision="tf32")
    switches = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    model.backbone.cast("tf32")
    assert model.backbone.dtype == torch.float32
    model.on_predict_start()
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (True, True)
    model.on_predict_end()
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == switches
