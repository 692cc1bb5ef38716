"""InstructPix2Pix against diffusers' own pipeline: same image, instruction and noise give the same edit."""

from pathlib import Path

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline
from tiny_families import SIDE
from tiny_rivals import save_pix2pix
from torch import Tensor

from augment.backbones.instruct_pix2pix import InstructPix2Pix
from augment.backbones.schedule import Step, stochastic_transfer
from augment.backbones.start import Sampler, Start, stack
from augment.errors import UserError
from augment.synthesis.synthesizer import Synthesizer

WORDS = ("make it autumn", "as a mosaic")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pix2pix(tmp_path_factory.mktemp("models") / "pix2pix")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> InstructPix2Pix:
    return InstructPix2Pix(str(folder))


def pictures(seed: int = 1) -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def noise(backbone: InstructPix2Pix) -> Tensor:
    return torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize(("guidance", "image_guidance"), [(4.0, 1.5), (7.5, 1.0), (1.0, 1.5)])
def test_it_makes_the_edits_of_its_pipeline(
    folder: Path, backbone: InstructPix2Pix, guidance: float, image_guidance: float
) -> None:
    """With guidance 1 neither guides, there and here."""
    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        list(WORDS),
        image=pictures(),
        latents=noise(backbone),
        num_inference_steps=4,
        guidance_scale=guidance,
        image_guidance_scale=image_guidance,
        output_type="pt",
    ).images
    start = Start(noise(backbone), WORDS, image=backbone.encode(pictures()), image_guidance=image_guidance)
    ours = backbone.decode(backbone.denoise(start, 4, guidance)) / 2 + 0.5
    assert (ours - theirs).abs().max() <= 1e-4
    assert theirs.std() > 0.01


@torch.no_grad()
def test_the_image_decides_the_edit(backbone: InstructPix2Pix) -> None:
    def edited(image: Tensor | None) -> Tensor:
        return backbone.denoise(Start(noise(backbone), WORDS, image=image, image_guidance=1.5), 3, 4.0)

    image = backbone.encode(pictures())
    assert not torch.allclose(edited(image), edited(backbone.encode(pictures(2))), atol=1e-3)
    # Shown an empty image, the two guidances of Eq. 3 are one.
    assert torch.allclose(edited(torch.zeros_like(image)), edited(None), atol=1e-4)


@torch.no_grad()
def test_rows_of_a_batch_do_not_mix(backbone: InstructPix2Pix) -> None:
    images = backbone.encode(pictures())
    single = [
        Start(z[None], (word,), image=image[None], image_guidance=1.5, seeds=(n,))
        for n, (z, word, image) in enumerate(zip(noise(backbone), WORDS, images, strict=True))
    ]
    both = stack(single)
    assert (both.image_guidance, both.take([1]).image is not None) == (1.5, True)
    sampler = Sampler(eta=1.0)
    together = backbone.denoise(both, 3, 4.0, sampler)
    apart = torch.cat([backbone.denoise(start, 3, 4.0, sampler) for start in single])
    assert torch.allclose(together, apart, atol=1e-5)
    assert torch.equal(backbone.denoise(both.to(torch.device("cpu")), 3, 4.0, sampler), together)


@torch.no_grad()
def test_eta_1_is_euler_ancestral(backbone: InstructPix2Pix) -> None:
    """A step of diffusers' scheduler in its units, z / alpha, with the same output, noise and times."""
    scheduler = EulerAncestralDiscreteScheduler.from_config(backbone.scheduler_config, timestep_spacing="leading")
    scheduler.set_timesteps(10)
    schedule = backbone.schedule(10)
    assert [step.noisy.time for step in schedule.steps] == scheduler.timesteps.tolist()
    z, output = noise(backbone), torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(3))
    for number in (0, 4, 8):
        step: Step = schedule.steps[number]
        fresh = torch.randn(z.shape, generator=torch.Generator().manual_seed(7))
        ours = stochastic_transfer("epsilon", z, output, step, 1.0, fresh)
        scheduler._step_index = number
        time = scheduler.timesteps[number]
        scaled = z / step.noisy.alpha
        scheduler.is_scale_input_called = True
        theirs = scheduler.step(output, time, scaled, generator=torch.Generator().manual_seed(7)).prev_sample
        assert torch.allclose(ours / step.clean.alpha, theirs, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_three_branches_are_counted(backbone: InstructPix2Pix) -> None:
    start = Start(noise(backbone), WORDS, image=backbone.encode(pictures()), image_guidance=1.5)
    for sampler in (Sampler(), Sampler(guidance_interval=(0.0, 0.5))):
        for guidance in (1.0, 4.0):
            before = backbone.evaluations
            backbone.denoise(start, 4, guidance, sampler)
            model = Synthesizer(backbone, steps=4, guidance=guidance, sampler=sampler)
            assert backbone.evaluations - before == 2 * model.evaluations_per_image()


def test_a_latent_is_as_the_autoencoder_has_it(backbone: InstructPix2Pix) -> None:
    """The U-Net takes eight channels, of which four are the image's."""
    assert backbone.unet.config.in_channels == 8
    assert backbone.latent_shape == (4, SIDE // 2, SIDE // 2)


def test_another_checkpoint_is_refused(model_folder: Path) -> None:
    with pytest.raises(UserError, match="holds a StableDiffusionPipeline; run it with `backbone` StableDiffusion"):
        InstructPix2Pix(str(model_folder))
