"""What `augment invert --check` recommends."""

from dataclasses import replace

from augment.inversion.compare import Trial
from augment.inversion.show import advice, recommended

DDIM = Trial(
    inversion="ddim",
    steps=20,
    guidance=1.0,
    forward_steps=0,
    psnr=24.2,
    floor=25.1,
    lpips=None,
    norm=1.0,
    channel_mean=0.0,
    largest_channel_mean=0.0,
    correlation=0.0,
    ks=0.0,
    normal=1.0,
    residual=0.0,
    seconds=0.1,
    evaluations=20.0,
)
FIXED = replace(DDIM, inversion="fixed-point", psnr=25.0, evaluations=120.0)


def test_the_cheapest_that_is_nearly_the_best() -> None:
    assert recommended([FIXED, DDIM], 1.0) == DDIM
    lossy = replace(DDIM, psnr=23.9)
    assert recommended([lossy, FIXED], 1.0) == FIXED
    assert recommended([DDIM, better := replace(DDIM, steps=19, psnr=24.3)], 1.0) == better
    assert recommended([replace(DDIM, psnr=float("nan"))], 1.0) is None


def test_of_the_samplers_guidance_without_noise_and_tricks() -> None:
    guided = replace(DDIM, guidance=3.0, psnr=20.0, evaluations=40.0)
    trick = replace(guided, inversion="negative-prompt", evaluations=20.0)
    noisier = replace(guided, forward_steps=1, evaluations=19.0)
    assert recommended([DDIM, guided, trick, noisier], 3.0) == guided
    assert recommended([DDIM, guided], 7.5) == DDIM


def test_what_is_said() -> None:
    said = advice([DDIM, FIXED], 1.0, 15.0)
    assert "--model.inversion.kind ddim --model.inversion.steps 20 --model.inversion.guidance 1" in said
    assert "24.2 dB; the autoencoder alone: 25.1 dB" in said
    assert advice([replace(DDIM, floor=12.0, psnr=11.0)], 1.0, 15.0).startswith("the autoencoder alone loses too much")
    assert advice([replace(DDIM, psnr=11.0)], 1.0, 15.0).startswith("every inversion loses too much")
    assert advice([], 1.0, 15.0).startswith("no inversion brings these images back")
