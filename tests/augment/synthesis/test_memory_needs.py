"""How much memory does a dry run foresee, and does leaving networks out early change an image?"""

from pathlib import Path

import pytest
import torch
from conftest import Job, sha256s
from tiny_families import save_sd3

from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.stable_diffusion_3 import StableDiffusion3
from augment.cli import main
from augment.inversion.inversion import Inversion
from augment.runtime.peak_memory import STATM, peak_memory
from augment.synthesis.memory import needs, part_sizes
from augment.synthesis.synthesizer import Synthesizer


def test_each_stage_needs_the_weights_that_it_uses(tmp_path: Path) -> None:
    backbone = StableDiffusion3(str(save_sd3(tmp_path / "sd3", t5=True)))
    model = Synthesizer(backbone, Inversion("euler", precision="fp32", batch_size=4), precision="bf16")
    backbone.cast("bf16")
    sizes = part_sizes(backbone)
    assert set(sizes) == {"transformer", "vae", "image_encoder", "text_encoder", "text_encoder_2", "text_encoder_3"}
    assert sum(sizes.values()) == 2 * sum(weight.numel() for weight in backbone.parameters())
    first, invert, encode, make = needs(model, batch_size=2, batch=1000, inverts=True)
    assert [need.weights for need in (first, encode)] == [2 * sum(sizes.values()), sum(sizes.values())]
    assert make.weights == sizes["transformer"] + sizes["vae"]
    assert invert.weights == 2 * (make.weights + sizes["image_encoder"])
    assert (make.batch, invert.batch) == (1000, 4000)  # twice as many images, in twice the precision
    assert [need.stage for need in needs(model, 2, 1000, inverts=False)] == [encode.stage, make.stage]
    model.offload = True
    assert needs(model, 2, 0, inverts=False)[0].weights == max(sizes.values())


@pytest.mark.skipif(not STATM.is_file(), reason="the system does not say how much lies in memory")
def test_the_peak_of_a_block_is_measured() -> None:
    with peak_memory(torch.device("cpu")) as peak:
        block = torch.ones(300_000_000 // 4)
        block.add_(1)
        del block
    assert 200e6 < peak.added < 1e9


def test_a_dry_run_prints_the_memory_of_each_stage(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["synthesize", *job.args(tmp_path / "set", "--dry_run")])
    out = capsys.readouterr().out
    assert all(f"memory to {stage}, at most" in out for stage in ("encode prompts", "invert images", "make images"))


def test_offloading_is_a_matter_of_memory_alone(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = job.synthesize(tmp_path / "plain")
    monkeypatch.setattr(StableDiffusion, "keep", lambda self, prompts: None)
    monkeypatch.setattr(StableDiffusion, "finish_encoding", lambda self: None)
    whole = job.synthesize(tmp_path / "whole" / "set", "--offload")
    assert sha256s(plain) == sha256s(whole)
    assert "without an accelerator all networks lie in host memory anyway" in caplog.text
