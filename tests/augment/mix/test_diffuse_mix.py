"""DiffuseMix: halves, seam and blend, against the authors' figures; and which draw decides what."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import paint
from torch import Tensor

from augment.errors import UserError
from augment.mix.diffuse_mix import INSTRUCTIONS, DiffuseMix, halves
from augment.mix.draws import Draws
from augment.mix.fractal import fractal, from_folder
from augment.mix.method import Material, Originals

DRAWS = tuple(Draws(0, 0, index) for index in range(6))


def batch(seed: int, side: int = 16) -> Tensor:
    return torch.rand(len(DRAWS), 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_seam_is_the_authors_at_their_size() -> None:
    """512 pixels: 246 of the one, 20 that fade from 0 to 1 in equal steps, 246 of the other."""
    share = np.concatenate([np.zeros(246), np.linspace(0, 1, 20), np.ones(246)])
    first, second = torch.zeros(2, 3, 512, 512), torch.ones(2, 3, 512, 512)
    joined = halves(first, second, torch.tensor([True, False]))
    expected = torch.from_numpy(share).float()
    assert torch.allclose(joined[0], expected.expand(3, 512, 512), atol=1e-6)
    assert torch.allclose(joined[1], expected[:, None].expand(3, 512, 512), atol=1e-6)


@pytest.mark.parametrize("side", [8, 16, 33, 64])
def test_halves_are_halves_at_any_size(side: int) -> None:
    joined = halves(torch.zeros(1, 3, side, side), torch.ones(1, 3, side, side), torch.tensor([True]))
    assert joined[0, 0, 0, 0] == 0 and joined[0, 0, 0, -1] == 1
    assert float(joined.mean()) == pytest.approx(0.5, abs=0.5 / side + 1e-6)


def test_an_image_is_half_real_half_edited_under_a_fifth_of_a_fractal() -> None:
    edited, real = batch(0), batch(1)
    made = DiffuseMix().finish(edited, lambda latents: latents, Originals(real, DRAWS, ("a",)))
    directions = set()
    for n, draws in enumerate(DRAWS):
        hybrid = (made[n] - 0.2 * fractal(draws.pattern(), 16)) / 0.8
        sideways = draws.uniform() < 0.5
        directions.add(sideways)
        turned = (lambda image: image) if sideways else (lambda image: image.transpose(1, 2))
        assert torch.allclose(turned(hybrid)[..., :7], turned(real[n])[..., :7], atol=1e-5)
        assert torch.allclose(turned(hybrid)[..., 9:], turned(edited[n])[..., 9:], atol=1e-5)
    assert directions == {True, False}


def test_without_a_fractal_the_halves_are_left_alone() -> None:
    edited, real = batch(0), batch(1)
    sideways = torch.tensor([draws.uniform() < 0.5 for draws in DRAWS])
    made = DiffuseMix(blend=0.0).finish(edited, lambda latents: latents, Originals(real, DRAWS, ("a",)))
    assert torch.equal(made, halves(real, edited, sideways))


def test_fractals_may_come_from_a_folder(tmp_path: Path) -> None:
    paint(tmp_path / "f.png", (200, 30, 90), 0)
    method = DiffuseMix(fractals=str(tmp_path), blend=1.0)
    made = method.finish(batch(0), lambda latents: latents, Originals(batch(1), DRAWS, ("a",)))
    assert torch.allclose(made[2], from_folder(DRAWS[2].pattern(), str(tmp_path), 16))
    assert method.identities()["fractals"].startswith(tmp_path.name + "@")
    assert DiffuseMix().identities() == {}


def test_a_start_is_noise_with_the_image_and_an_instruction() -> None:
    latent, drawn = batch(3)[:1], set()
    for draws in (Draws(0, 0, index) for index in range(60)):
        start = DiffuseMix().start(Material(latent, torch.ones(1), "a photo of a cat", draws))
        assert start.image is not None and torch.equal(start.image, latent)
        assert torch.equal(start.latent[0], draws.noise(tuple(latent.shape[1:])))
        assert (start.strength, start.noise, start.image_guidance) == (1.0, None, 1.5)
        drawn.update(start.prompts)
    assert drawn == set(INSTRUCTIONS) == set(DiffuseMix().prompts("a photo of a cat"))
    assert len(INSTRUCTIONS) == 9


def test_no_instruction_is_refused() -> None:
    with pytest.raises(UserError, match=r"settings.instructions: an empty list tells the backbone nothing; give some"):
        DiffuseMix(instructions=())
