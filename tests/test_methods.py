import re
from typing import get_args

import pytest
import torch

from augment.backbones.base import Start
from augment.backbones.sampling import stack
from augment.interpolation import MEANS, NORMS, interpolate
from augment.methods import METHODS, Material, MethodName


def test_every_norm_with_every_mean_is_a_method() -> None:
    assert set(METHODS) == {f"{norm}/{mean}" for norm in NORMS for mean in MEANS} == set(get_args(MethodName))


@pytest.mark.parametrize("name", list(METHODS))
def test_a_centroid_starts_from_the_mixture_its_name_says(name: MethodName) -> None:
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.2
    weights = torch.tensor([0.5, 0.3, 0.2])
    start = METHODS[name].start(Material(latents, weights, "a cat"))
    norm, mean = re.fullmatch(r"(\w+)/(\w+)", name).groups()
    assert torch.equal(start.latent, interpolate(latents, weights, norm, mean)[None])
    assert start.prompts == ("a cat",)
    assert start.strength == 1
    assert METHODS[name].min_sources == 1


def test_starts_are_stacked_in_order() -> None:
    starts = [Start(torch.full((1, 4, 2, 2), float(n)), (f"prompt {n}",), 0.5) for n in range(3)]
    batch = stack(starts)
    assert batch.latent[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.prompts == ("prompt 0", "prompt 1", "prompt 2")
    assert batch.strength == 0.5
