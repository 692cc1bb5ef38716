"""Starts as the papers define them, one image at a time: no model, no disk."""

import math
import re
from collections import Counter
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from augment.backbones.start import Start, stack
from augment.errors import UserError
from augment.mix.draws import Draws
from augment.mix.interpolation import MEANS, NORMS, adjust_norm, interpolate, slerp
from augment.mix.method import Material
from augment.mix.registry import METHODS, MethodName, configure, describe

CENTROIDS: list[Any] = [f"{norm}/{mean}" for norm in NORMS for mean in MEANS]
RIVALS = ["nao", "slerp", "norm-lin", "circle", "copy", "tint", "sdedit", "diff-mix", "gif", "diffusemix", "text2img"]


def material(count: int, weights: list[float] | None = None, index: int = 0, **more: Any) -> Material:
    latents = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.2
    shares = torch.tensor(weights if weights is not None else [1 / max(count, 1)] * count)
    return Material(latents, shares, "a cat", Draws(0, 1, index), **more)


def norm(z: Tensor) -> float:
    return float(z.flatten().norm())


def test_the_registry_holds_every_name() -> None:
    assert list(METHODS) == list(get_args(MethodName)) == CENTROIDS + RIVALS


@pytest.mark.parametrize("name", CENTROIDS)
def test_a_centroid_starts_from_the_mixture_its_name_says(name: MethodName) -> None:
    given = material(3, [0.5, 0.3, 0.2])
    start = METHODS[name].start(given)
    norm_, mean = re.fullmatch(r"(\w+)/(\w+)", name).groups()
    assert torch.equal(start.latent, interpolate(given.latents, given.weights, norm_, mean)[None])
    assert start.prompts == ("a cat",)
    assert start.strength == 1
    assert METHODS[name].sources is None


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].latents == "inverted"])
def test_null_text_embeddings_are_mixed_with_the_weights(name: MethodName) -> None:
    count = METHODS[name].sources or 3
    embeddings = torch.randn(count, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    given = material(count, unconditional=embeddings)
    unconditional = METHODS[name].start(given).unconditional
    torch.testing.assert_close(unconditional, embeddings.mean(dim=0, keepdim=True))


# Pairs.


@pytest.mark.parametrize("name", ["slerp", "norm-lin"])
def test_a_pair_hits_both_ends(name: MethodName) -> None:
    for weights, expected in (([1.0, 0.0], 0), ([0.0, 1.0], 1)):
        given = material(2, weights)
        torch.testing.assert_close(METHODS[name].start(given).latent[0], given.latents[expected])


def test_slerp_uses_the_second_weight() -> None:
    given = material(2, [0.7, 0.3])
    assert torch.equal(METHODS["slerp"].start(given).latent[0], slerp(*given.latents, float(given.weights[1])))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
def test_normalised_linear_is_the_published_formula(share: float) -> None:
    given = material(2, [1 - share, share])
    p, q = given.latents
    expected = ((1 - share) * p + share * q) / math.sqrt(share * (2 * share - 2) + 1)
    torch.testing.assert_close(METHODS["norm-lin"].start(given).latent[0], expected)
    torch.testing.assert_close(expected, adjust_norm(given.latents, given.weights, "cog"))


def test_circle_lies_on_the_circle_and_goes_all_round_it() -> None:
    """Sources of one norm: the sphere; in their plane; and every quarter is reached by a quarter of 400 draws."""
    given = material(2)
    unit = given.latents / given.latents.flatten(1).norm(dim=1)[:, None, None, None]
    p, q = unit
    side = q - (p * q).sum() * p
    side = side / side.norm()
    quarters = [0] * 4
    for index in range(400):
        point = METHODS["circle"].start(replace(given, latents=unit, draws=Draws(0, 1, index))).latent[0]
        across, up = float((point * p).sum()), float((point * side).sum())
        assert norm(point) == pytest.approx(1, abs=1e-4)
        assert math.hypot(across, up) == pytest.approx(1, abs=1e-4)
        quarters[int(math.atan2(up, across) % (2 * math.pi) / (math.pi / 2)) % 4] += 1
    assert min(quarters) > 100 - 5 * math.sqrt(400 * 0.25 * 0.75)


def test_circle_without_suffixes_has_one_stage() -> None:
    start = METHODS["circle"].start(material(2))
    assert (start.prompts, start.late_prompts, start.switch) == (("a cat",), None, 1.0)


def test_circle_with_suffixes_has_two_stages() -> None:
    method = configure("circle", {"suffixes": [" at sea", " at home"]})
    starts = [method.start(material(2, index=index)) for index in range(30)]
    assert {start.prompts for start in starts} == {("a cat at sea",), ("a cat at home",)}
    assert {start.late_prompts for start in starts} == {("a cat",)}
    assert {start.switch for start in starts} == {0.3}


# One image, or none.


def test_copy_is_the_latent_itself() -> None:
    given = material(1)
    assert torch.equal(METHODS["copy"].start(given).latent, given.latents)


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
def test_tint_has_the_blends_direction_and_restored_norm(blend: float) -> None:
    given = material(1)
    z, noise = given.latents[0], given.noise()
    start = configure("tint", {"blend": blend}).start(given).latent[0]
    plain = (1 - blend) * z + blend * noise
    assert norm(start) == pytest.approx((1 - blend) * norm(z) + blend * norm(noise), rel=1e-5)
    assert float((start * plain).sum()) == pytest.approx(norm(start) * norm(plain), rel=1e-5)


def test_tint_draws_its_blend_uniformly() -> None:
    """The norm of the blend, between the latent's and the noise's, tells the share: mean 1/2, deviation 0.29."""
    shares = []
    for index in range(300):
        given = material(1, index=index)
        given = replace(given, latents=100 * given.latents)
        start = METHODS["tint"].start(given).latent[0]
        z, noise = norm(given.latents), norm(given.noise())
        shares.append((z - norm(start)) / (z - noise))
    assert sum(shares) / 300 == pytest.approx(0.5, abs=5 * 0.29 / math.sqrt(300))
    assert (min(shares) < 0.05, max(shares) > 0.95) == (True, True)


def test_text_to_image_starts_from_the_images_noise() -> None:
    given = Material(torch.empty(0, 4, 8, 8), torch.empty(0), "a cat", Draws(0, 1, 5))
    start = METHODS["text2img"].start(given)
    assert torch.equal(start.latent[0], torch.randn(4, 8, 8, generator=given_generator(given)))
    assert (start.prompts, start.strength, start.noise) == (("a cat",), 1.0, None)


def given_generator(given: Material) -> torch.Generator:
    """A generator in the state in which the noise is drawn."""
    import numpy as np

    draws = given.draws
    sequence = np.random.SeedSequence([draws.seed, draws.label, draws.index], spawn_key=(2,))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


@pytest.mark.parametrize(("name", "strength"), [("sdedit", 0.5), ("diff-mix", 0.7)])
def test_sdedit_hands_over_clean_latent_and_noise(name: MethodName, strength: float) -> None:
    given = material(1)
    start = METHODS[name].start(given)
    assert torch.equal(start.latent, given.latents)
    assert start.noise is not None
    assert torch.equal(start.noise[0], given.noise())
    assert start.strength == strength
    assert configure(name, {"strength": 0.2}).start(given).strength == 0.2


def test_sdedit_draws_one_of_several_strengths() -> None:
    """DA-Fusion's: each of them for a quarter of the images, and always the same one for an image."""
    method = configure("sdedit", {"strength": [0.25, 0.5, 0.75, 1.0]})
    assert describe(method) == {"strength": [0.25, 0.5, 0.75, 1.0]}
    drawn = [method.start(replace(material(1), draws=Draws(0, 0, n))).strength for n in range(200)]
    assert drawn == [method.start(replace(material(1), draws=Draws(0, 0, n))).strength for n in range(200)]
    counts = Counter(drawn)
    assert set(counts) == {0.25, 0.5, 0.75, 1.0}
    assert min(counts.values()) > 30


@pytest.mark.parametrize(("name", "strength"), [("diff-mix", [0.5, 0.7]), ("sdedit", [])])
def test_strengths_that_make_no_sense_are_refused(name: MethodName, strength: list[float]) -> None:
    problem = {
        "sdedit": "settings.strength: an empty list holds no strength",
        "diff-mix": "settings of method 'diff-mix': .*strength",
    }
    with pytest.raises(UserError, match=problem[name]):
        configure(name, {"strength": strength})


@pytest.mark.parametrize("strength", [0, [0.5, 0]])
def test_a_strength_of_nothing_is_refused(strength: Any) -> None:
    with pytest.raises(UserError, match=r"settings\.strength: 0 leaves nothing to be denoised; give more than 0"):
        configure("sdedit", {"strength": strength})


def test_soft_label_of_diff_mix_is_the_papers() -> None:
    """s^gamma on the prompt's class: 0.7^0.5 by default; a full replacement is a hard label."""
    assert METHODS["diff-mix"].label_share == pytest.approx(0.83666, abs=1e-5)
    assert configure("diff-mix", {"strength": 0.25, "gamma": 2}).label_share == 0.0625
    assert configure("diff-mix", {"strength": 1}).label_share == 1
    assert {METHODS[name].label_share for name in METHODS if name != "diff-mix"} == {1.0}


# Settings.


def test_authors_values_are_described() -> None:
    assert describe(METHODS["nin/chm"]) == {}
    assert describe(METHODS["diff-mix"]) == {"strength": 0.7, "gamma": 0.5}
    assert describe(METHODS["sdedit"]) == {"strength": 0.5}
    assert describe(METHODS["tint"]) == {"blend": None}
    assert describe(configure("circle", {"suffixes": [" x"], "switch": 0.5})) == {
        "suffixes": [" x"],
        "switch": 0.5,
    }


@pytest.mark.parametrize(
    ("name", "setting"),
    [("nin/chm", "strength"), ("slerp", "blend"), ("sdedit", "gamma"), ("tint", "switch"), ("text2img", "suffixes")],
)
def test_a_setting_that_would_do_nothing_is_refused(name: MethodName, setting: str) -> None:
    settings: dict[str, Any] = {setting: [" x"] if setting == "suffixes" else 0.5}
    with pytest.raises(UserError, match=f"settings.{setting}: method '{name}' has no such setting; leave it out"):
        configure(name, settings)


def test_a_switch_between_one_prompt_is_refused() -> None:
    with pytest.raises(UserError, match=r"switch: there is nothing to switch to; give `settings.suffixes`"):
        configure("circle", {"switch": 0.5})


# Batches.


def test_starts_are_stacked_in_order() -> None:
    starts = [
        Start(torch.full((1, 4, 2, 2), float(n)), (f"prompt {n}",), 0.5, noise=torch.full((1, 4, 2, 2), -float(n)))
        for n in range(3)
    ]
    batch = stack([replace(s, late_prompts=(f"late {n}",), switch=0.25) for n, s in enumerate(starts)])
    assert batch.latent[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.prompts == ("prompt 0", "prompt 1", "prompt 2")
    assert batch.late_prompts == ("late 0", "late 1", "late 2")
    assert batch.noise is not None
    assert batch.noise[:, 0, 0, 0].tolist() == [0, -1, -2]
    assert (batch.strength, batch.switch) == (0.5, 0.25)
