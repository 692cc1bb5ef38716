"""Facts that every inversion kind must keep, on models small enough to check them exactly."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tiny_families import save_sd3, save_sdxl
from torch import Tensor

from augment.backbones.base import Backbone
from augment.backbones.inversions import Network, explicit, fixed_point, invert, midpoint
from augment.backbones.schedule import (
    Level,
    Step,
    ddim_schedule,
    flow_schedule,
    stochastic_transfer,
    transfer,
    undo_transfer,
)
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.stable_diffusion_3 import StableDiffusion3
from augment.backbones.stable_diffusion_xl import StableDiffusionXL
from augment.backbones.start import Sampler, Start
from augment.cli import main
from augment.dataset.reader import read_shard
from augment.errors import UserError
from augment.inversion.inversion import Inversion, check_inverted, go_back, invert_latents
from augment.mix.draws import noise_seed
from augment.synthesis.synthesizer import Synthesizer

PROMPTS = ("a photo of a cat", "a dog")
SD15 = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
ZERO_SNR = SD15 | {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(model_folder: Path, tmp_path: Path, **scheduler: Any) -> StableDiffusion:
    """An untrained network is rougher in z and t than a trained one; this one's output is damped."""
    folder = shutil.copytree(model_folder, tmp_path / "smooth")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | scheduler))
    backbone = StableDiffusion(str(folder))
    backbone.unet.conv_out.weight.data.mul_(0.3)
    return backbone


def error(backbone: Backbone, how: Inversion, prompts: tuple[str, ...] = PROMPTS) -> float:
    """Relative error of the round trip."""
    clean = normal(len(prompts), *backbone.latent_shape, seed=5)
    with torch.no_grad():
        back = go_back(backbone, invert_latents(backbone, clean, prompts, how), prompts, how)
    return float((back - clean).norm() / clean.norm())


# The steps.


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_undoing_a_step_is_exact(prediction: Any) -> None:
    if prediction == "flow":
        schedule = flow_schedule({"shift": 3.0}, 4)
    else:
        schedule = ddim_schedule(SD15 | {"prediction_type": prediction}, 4)
    z, output = normal(2, 4, 8, 8).double(), normal(2, 4, 8, 8, seed=1).double()
    for step in schedule.steps[:-1] if prediction == "sample" else schedule.steps:
        down = transfer(schedule.prediction, z, output, step.noisy, step.clean)
        torch.testing.assert_close(undo_transfer(schedule.prediction, down, output, step), z)


def test_undoing_a_step_from_zero_terminal_signal() -> None:
    schedule = ddim_schedule(ZERO_SNR, 5)
    assert schedule.steps[0].noisy == Level(999, 0.0, 1.0)
    z, output = normal(1, 4, 8, 8).double(), normal(1, 4, 8, 8, seed=1).double()
    down = transfer("v_prediction", z, output, schedule.steps[0].noisy, schedule.steps[0].clean)
    torch.testing.assert_close(undo_transfer("v_prediction", down, output, schedule.steps[0]), z)


def test_an_epsilon_model_cannot_leave_zero_signal() -> None:
    match = r"epsilon-predicting model cannot be inverted to zero signal; use `inversion\.kind` ddim"
    with pytest.raises(UserError, match=match):
        undo_transfer("epsilon", normal(1, 1, 2, 2), normal(1, 1, 2, 2), Step(Level(9, 0.0, 1.0), Level(5, 0.6, 0.8)))


def test_fresh_noise_keeps_the_variance() -> None:
    """With the true noise as prediction, every eta leaves the variance that the schedule says."""
    step = ddim_schedule(SD15, 10).steps[4]
    x0, eps, fresh = (normal(200_000, 1, 1, 1, seed=n) for n in range(3))
    z = step.noisy.alpha * x0 + step.noisy.sigma * eps
    for eta in (0.0, 0.5, 1.0):
        residue = stochastic_transfer("epsilon", z, eps, step, eta, fresh) - step.clean.alpha * x0
        assert float(residue.std()) == pytest.approx(step.clean.sigma, rel=0.01)


# The algorithms, on fields whose answer is known.


def test_fixed_point_converges_where_ddim_does_not() -> None:
    schedule = ddim_schedule(SD15, 10)

    def network(z: Tensor, time: float) -> Tensor:
        return 0.2 * torch.sin(3 * z) + time / 2000

    clean = normal(3, 1, 4, 4).double()

    def back(z: Tensor) -> Tensor:
        for step in schedule.steps:
            z = transfer("epsilon", z, network(z, step.noisy.time), step.noisy, step.clean)
        return z

    *_, approximate = explicit(network, schedule, clean)
    exact, residual = fixed_point(network, schedule, clean, 1e-10, 60)
    assert float(residual.max()) < 1e-9
    assert (back(exact) - clean).abs().max() < 1e-8
    assert (back(approximate) - clean).abs().max() > 1e-3


def test_fixed_point_does_not_depend_on_the_batch() -> None:
    """The first image converges in fewer iterations than the second, and stays where it is from there on."""
    schedule = ddim_schedule(SD15, 5)

    def network(scale: Tensor) -> Network:
        return lambda z, time: scale[:, None, None, None] * torch.sin(3 * z)

    clean, scale = normal(2, 1, 4, 4), torch.tensor([0.05, 0.3])
    together, residuals = fixed_point(network(scale), schedule, clean, 1e-4, 50)
    for row in (0, 1):
        alone, residual = fixed_point(network(scale[row : row + 1]), schedule, clean[row : row + 1], 1e-4, 50)
        assert torch.equal(together[row], alone[0])
        assert float(residuals[row]) == float(residual[0]) < 1e-4


def test_fixed_point_reports_what_it_did_not_reach() -> None:
    _, residual = fixed_point(lambda z, _: 5 * torch.sin(9 * z), ddim_schedule(SD15, 5), normal(1, 1, 4, 4), 1e-6, 4)
    assert float(residual[0]) > 0.01


def test_fixed_point_reports_the_largest_relative_change_of_a_last_iteration() -> None:
    """One iteration a step, by hand: from z to the fixed point's first guess, over the guess's norm."""
    schedule, z = ddim_schedule(SD15, 3), 2 * normal(2, 1, 4, 4).double()
    noise, residual = fixed_point(lambda z, time: 0.3 * torch.sin(z) + time / 2000, schedule, z, 1e-9, 1)
    worst = [0.0, 0.0]
    for step in schedule.steps[::-1]:
        output = 0.3 * torch.sin(z) + step.noisy.time / 2000
        guess = step.noisy.alpha * (z - step.clean.sigma * output) / step.clean.alpha + step.noisy.sigma * output
        for row in (0, 1):
            worst[row] = max(worst[row], float((guess[row] - z[row]).norm() / guess[row].norm()))
        z = guess
    torch.testing.assert_close(noise, z)
    assert residual.tolist() == pytest.approx(worst, rel=1e-6)
    assert abs(worst[0] - worst[1]) > 1e-3


def test_fixed_point_has_converged_where_the_change_is_the_tolerance() -> None:
    """It stays where it is from there on, while the other image of its batch goes on."""
    schedule, clean = ddim_schedule(SD15, 1), normal(2, 1, 4, 4)
    calls = 0

    def network(z: Tensor, time: float) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.tensor([0.1, 0.5])[: len(z), None, None, None] * torch.sin(2 * z)

    first, changes = fixed_point(network, schedule, clean, 0.0, 1)
    tolerance = float(changes[0])
    assert tolerance < float(changes[1])
    found, residual = fixed_point(network, schedule, clean, tolerance, 9)
    assert torch.equal(found[0], first[0]) and float(residual[0]) == tolerance
    assert not torch.equal(found[1], first[1])
    calls = 0
    fixed_point(network, schedule, clean[:1], tolerance, 9)
    assert calls == 1


def test_a_clipping_samplers_residual_is_what_a_step_down_misses_by() -> None:
    schedule, clean = ddim_schedule(SD15 | {"clip_sample": True}, 1), 3 * normal(2, 1, 4, 4)
    noise, residual = fixed_point(lambda z, time: torch.zeros_like(z), schedule, clean, 1e-6, 5)
    (step,) = schedule.steps
    back = step.clean.alpha * (noise / step.noisy.alpha).clamp(-1, 1)
    expected = ((back - clean).flatten(1).norm(dim=1) / clean.flatten(1).norm(dim=1)).tolist()
    assert residual.tolist() == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 0.1


@pytest.mark.parametrize("kind", ["ddim", "euler", "negative-prompt", "midpoint", "fixed-point"])
def test_each_kind_is_its_algorithm(kind: Any) -> None:
    """Only the fixed point measures a residual."""
    schedule, clean = flow_schedule({"shift": 3.0}, 4), normal(3, 1, 4, 4)

    def network(z: Tensor, time: float) -> Tensor:
        return 0.2 * torch.sin(z) + time / 5000

    noise, residual = invert(kind, network, schedule, clean, 1e-4, 7)
    *_, up = explicit(network, schedule, clean)
    solved, measured = fixed_point(network, schedule, clean, 1e-4, 7)
    expected = {"midpoint": midpoint(network, schedule, clean), "fixed-point": solved}.get(kind, up)
    assert torch.equal(noise, expected)
    assert torch.equal(residual, measured if kind == "fixed-point" else torch.zeros(3))


def test_no_residual_lies_where_the_latents_lie() -> None:
    """On the device that holds no numbers, since every machine has it."""
    clean = torch.empty(2, 1, 4, 4, device="meta")
    noise, residual = invert("ddim", lambda z, time: z, ddim_schedule(SD15, 2), clean, 1e-4, 7)
    assert (noise.device.type, residual.device.type) == ("meta", "meta")


def test_euler_inversion_is_exact_on_a_straight_path() -> None:
    """On the path from x0 to one noise, the velocity is constant: one step is as good as many."""
    x0, eps = normal(2, 4, 4, 4), normal(2, 4, 4, 4, seed=1)
    for steps in (1, 7):
        *_, z = explicit(lambda z, time: eps - x0, flow_schedule({"shift": 3.0}, steps), x0)
        torch.testing.assert_close(z, eps, atol=1e-5, rtol=1e-5)


def test_midpoint_is_of_second_order() -> None:
    """Halving the step quarters the error against the ODE's solution dz/dsigma = z, and only halves Euler's."""
    x0 = normal(1, 1, 4, 4).double()

    def errors(steps: int) -> tuple[float, float]:
        schedule = flow_schedule({"shift": 1.0}, steps)
        top = schedule.steps[0].noisy.sigma
        truth = x0 * torch.tensor(top).double().exp()
        *_, euler = explicit(lambda z, _: z, schedule, x0)
        second = midpoint(lambda z, _: z, schedule, x0)
        return float((euler - truth).norm()), float((second - truth).norm())

    (euler_8, second_8), (euler_16, second_16) = errors(8), errors(16)
    assert euler_8 / euler_16 == pytest.approx(2, rel=0.15)
    assert second_8 / second_16 == pytest.approx(4, rel=0.25)
    assert second_8 < 0.1 * euler_8


# The round trips of the families.


@pytest.mark.parametrize("scheduler", [{}, {"prediction_type": "v_prediction"}, ZERO_SNR])
def test_fixed_point_beats_ddim_at_equal_steps(model_folder: Path, tmp_path: Path, scheduler: dict[str, Any]) -> None:
    backbone = smooth(model_folder, tmp_path, **scheduler)
    ddim = error(backbone, Inversion("ddim", steps=8))
    solved = error(backbone, Inversion("fixed-point", steps=8, tolerance=1e-6, iterations=40))
    assert solved < 0.1 * ddim
    assert solved < 1e-3


def test_sd3_round_trips(tmp_path: Path) -> None:
    backbone = StableDiffusion3(str(save_sd3(tmp_path / "sd3")))
    euler = error(backbone, Inversion("euler", steps=10))
    assert error(backbone, Inversion("midpoint", steps=10)) < 0.5 * euler
    assert error(backbone, Inversion("fixed-point", steps=10, tolerance=1e-6, iterations=40)) < 0.01 * euler
    assert error(backbone, Inversion("euler", steps=80)) < 0.5 * euler


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_null_text_leads_guidance_back(model_folder: Path, tmp_path: Path, family: str) -> None:
    if family == "sd":
        backbone: Backbone = StableDiffusion(str(model_folder))
    else:
        backbone = StableDiffusionXL(str(save_sdxl(tmp_path / "sdxl")))
    guided = Inversion("null-text", steps=4, guidance=3.0, iterations=40, tolerance=1e-7)
    clean = normal(1, *backbone.latent_shape, seed=5)
    inverted = invert_latents(backbone, clean, PROMPTS[:1], guided)
    assert inverted.unconditional is not None and inverted.unconditional.shape[:2] == (1, 4)
    assert torch.equal(inverted.latent, backbone.invert(clean, PROMPTS[:1], 4, 1.0).latent)
    with torch.no_grad():
        optimised = go_back(backbone, inverted, PROMPTS[:1], guided)
        plain = backbone.denoise(Start(inverted.latent, PROMPTS[:1]), 4, 3.0)
    assert (optimised - clean).norm() < 0.9 * (plain - clean).norm()


def test_null_text_works_within_inference_mode(model_folder: Path) -> None:
    """Lightning predicts in inference mode, in which nothing can be optimised."""
    backbone = StableDiffusion(str(model_folder))
    clean = normal(1, *backbone.latent_shape)
    how = Inversion("null-text", steps=3, guidance=3.0, iterations=3)
    outside = invert_latents(backbone, clean, PROMPTS[:1], how)
    another = StableDiffusion(str(model_folder))
    with torch.inference_mode():
        another.condition(["", *PROMPTS])  # what is remembered from here on cannot be differentiated through
        inside = invert_latents(another, clean.clone(), PROMPTS[:1], how)
    assert inside.unconditional is not None and outside.unconditional is not None
    assert torch.equal(inside.unconditional, outside.unconditional)
    empty = backbone.condition([""]).embeddings
    assert (inside.unconditional[:, 0] - empty).abs().max() > 1e-3


def test_negative_prompt_is_the_way_back_without_guidance(model_folder: Path) -> None:
    """With one prompt for both branches guidance cancels, whatever its scale (Miyake et al. 2023)."""
    backbone = StableDiffusion(str(model_folder))
    ddim = error(backbone, Inversion("ddim", steps=5))
    assert error(backbone, Inversion("negative-prompt", steps=5, guidance=7.5)) == pytest.approx(ddim, rel=1e-3)
    assert error(backbone, Inversion("ddim", steps=5, guidance=7.5)) != pytest.approx(ddim, rel=1e-1)


# Mistakes.


def test_null_text_needs_fp32_and_guidance(model_folder: Path) -> None:
    backbone = StableDiffusion(str(model_folder))
    clean = normal(1, *backbone.latent_shape)
    with pytest.raises(UserError, match=r"inversion\.guidance: null-text prepares for guidance, 1 is without"):
        backbone.invert(clean, ("x",), 2, 1.0, "null-text")
    with pytest.raises(UserError, match=r"inversion\.precision: null-text optimises in fp32, not in bf16; use fp32"):
        Synthesizer(backbone, Inversion("null-text", steps=50, guidance=3.0, precision="bf16"))
    with pytest.raises(UserError, match=r"inversion\.steps: null-text makes embeddings .* 10 of the inversion for 50"):
        Synthesizer(backbone, Inversion("null-text", steps=10, guidance=3.0), steps=50)
    with pytest.raises(UserError, match=r"inversion\.steps: null-text makes embeddings for each step of the first-ord"):
        Synthesizer(backbone, Inversion("null-text", guidance=3.0), sampler=Sampler("dpm++"))


def test_a_diverging_inversion_names_the_image_and_its_residual() -> None:
    how = Inversion("fixed-point", guidance=7.5, iterations=3)
    match = r"inversion of image 'cat\.png': it diverged, with residual 0\.93 after 3 .* 7\.5; try"
    with pytest.raises(UserError, match=match):
        check_inverted("cat.png", normal(4, 8, 8), 0.93, how)
    with pytest.raises(UserError, match=r"'cat\.png' \(fixed-point, guidance 7\.5; residual 0\.93, .*NaN or infinity"):
        check_inverted("cat.png", torch.full((4, 8, 8), torch.nan), 0.93, how)


def test_guidance_that_diverges_is_the_users_matter(model_folder: Path, job: Any, tmp_path: Path, fails: Any) -> None:
    options = ("--model.inversion.kind", "fixed-point", "--model.inversion.guidance", "3000")
    line = fails(main, ["invert", *job.args(tmp_path / "out", *options)], code=1)
    assert "inversion of image '" in line and "residual" in line and "guidance 3000" in line
    assert "Traceback" not in line


# Through the commands.


def test_null_text_embeddings_are_banked_mixed_and_used(job: Any, tmp_path: Path) -> None:
    options = [
        *("--model.inversion.kind", "null-text", "--model.inversion.guidance", "4", "--model.guidance", "4"),
        *("--model.inversion.iterations", "3", "--data.bank", str(tmp_path / "bank")),
    ]
    with_null = job.synthesize(tmp_path / "null", *options)
    plain = job.synthesize(tmp_path / "plain", "--model.guidance", "4")
    file = next((tmp_path / "bank").glob("*.safetensors"))
    with safe_open(file, framework="pt") as tensors:
        assert set(tensors.keys()) == {"latent", "unconditional"}
        assert tensors.get_tensor("unconditional").dtype == torch.float32
        assert tensors.get_tensor("unconditional").shape[0] == 2  # steps
        key = json.loads(tensors.metadata()["key"])
    assert (key["kind"], key["iterations"]) == ("null-text", 3)
    images = [[image.tobytes() for _, image, _ in read_shard(d / "train-000000.tar")] for d in (with_null, plain)]
    assert all(a != b for a, b in zip(*images, strict=True))


def test_samplers_are_part_of_the_fingerprint(job: Any, tmp_path: Path, fails: Any) -> None:
    done = job.synthesize(tmp_path / "out", "--model.sampler.eta", "1.0")
    assert json.loads((done / "dataset.json").read_text())["config"]["sampler"]["eta"] == 1.0
    assert "sampler.eta: 1.0 there, 0.0 here" in fails(main, ["synthesize", *job.args(done)], code=1)


def test_noise_seeds_differ_by_image_class_and_seed() -> None:
    seeds = {noise_seed(seed, label, index) for seed in range(3) for label in range(5) for index in range(50)}
    assert len(seeds) == 3 * 5 * 50
    assert noise_seed(1, 2, 3) == noise_seed(1, 2, 3)
