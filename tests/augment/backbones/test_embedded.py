"""The backbones that come with the package."""

import pytest

from augment.backbones.checkpoint import EMBEDDED
from augment.backbones.stable_diffusion import StableDiffusion
from augment.measure.seen_in_training import seen_by_backbone


@pytest.mark.parametrize(("name", "shape"), [("digits", (4, 8, 8)), ("fashion", (8, 8, 8))])
def test_they_are_small_and_need_no_network(name: str, shape: tuple[int, int, int]) -> None:
    backbone = StableDiffusion(name)
    assert (backbone.latent_shape, backbone.image_size) == (shape, 32)
    assert sum(file.stat().st_size for file in (EMBEDDED / name).rglob("*")) < 8e6
    assert {file.suffix for file in (EMBEDDED / name).rglob("*.*")} == {".json", ".safetensors", ".md"}


def test_of_fashion_nobody_knows_which_files_it_has_seen() -> None:
    """They were written anew from the data set's own format, so that their hashes say nothing of a user's files."""
    assert seen_by_backbone(StableDiffusion("fashion")) is None
