"""Norm-aware optimisation: what its centroid and paths must be, and which of their points an image takes."""

import math

import pytest
import torch
from scipy.stats import chi
from torch import Tensor

from augment.mix.draws import Draws
from augment.mix.method import Material
from augment.mix.norm_aware import POINTS, log_chi, log_likelihood, norm_aware_paths
from augment.mix.registry import METHODS

L = 64


@pytest.fixture(scope="module")
def sources() -> Tensor:
    return torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def rows(sources: Tensor) -> tuple[bytes, ...]:
    return tuple(sorted(source.numpy().tobytes() for source in sources))


@pytest.fixture(scope="module")
def paths(sources: Tensor) -> Tensor:
    return norm_aware_paths(rows(sources))


def start(sources: Tensor, weights: list[float]) -> Tensor:
    return METHODS["nao"].start(Material(sources, torch.tensor(weights), "a cat", Draws(0, 0, 0))).latent[0]


def straight(sources: Tensor) -> Tensor:
    ends = sources.flatten(1)
    return torch.stack([torch.lerp(ends.mean(dim=0), ends, float(t)) for t in torch.linspace(0, 1, POINTS)], dim=1)


def test_log_density_is_the_chi_distributions() -> None:
    for norm in (1.0, 7.5, 12.0):
        assert float(log_chi(torch.tensor(norm), L)) == pytest.approx(chi.logpdf(norm, L), abs=1e-4)


def test_integral_of_a_circle_is_its_length_times_the_density() -> None:
    angles = torch.linspace(0, math.pi, 1000)
    arc = torch.zeros(1, 1000, L)
    arc[0, :, 0], arc[0, :, 1] = 8 * angles.cos(), 8 * angles.sin()
    integral, steps = log_likelihood(arc)
    assert float(steps.sum()) == pytest.approx(8 * math.pi, rel=1e-4)
    assert float(integral) == pytest.approx(8 * math.pi * chi.logpdf(8, L), rel=1e-3)


def test_paths_lead_from_one_centroid_to_the_sources(paths: Tensor, sources: Tensor) -> None:
    assert paths.shape == (3, POINTS, L)
    assert torch.equal(paths[0, 0], paths[1, 0])
    assert torch.equal(paths[0, 0], paths[2, 0])
    assert rows(paths[:, -1].contiguous()) == rows(sources.flatten(1))


def test_the_centroid_is_as_likely_as_a_norm_can_be(paths: Tensor, sources: Tensor) -> None:
    """The mode of the chi distribution is sqrt(L - 1); the mean of the sources lies far below."""
    assert float(paths[0, 0].norm()) == pytest.approx(math.sqrt(L - 1), rel=0.02)
    assert float(sources.mean(dim=0).norm()) < 0.7 * math.sqrt(L)


def test_paths_are_likelier_than_straight_ones(paths: Tensor, sources: Tensor) -> None:
    found, steps = log_likelihood(paths)
    plain, _ = log_likelihood(straight(sources))
    assert float(found.sum()) > float(plain.sum()) + 50
    assert float(steps.max()) < 2 * float(torch.cdist(sources.flatten(1), sources.flatten(1)).max()) / POINTS + 0.1


def test_equal_weights_give_the_centroid_and_one_hot_weights_the_source(paths: Tensor, sources: Tensor) -> None:
    torch.testing.assert_close(start(sources, [1 / 3] * 3).flatten(), paths[0, 0], atol=1e-5, rtol=1e-5)
    for n in range(3):
        torch.testing.assert_close(start(sources, [float(n == m) for m in range(3)]), sources[n])


def test_the_order_of_the_sources_is_immaterial(sources: Tensor) -> None:
    one, other = start(sources, [0.2, 0.5, 0.3]), start(sources.flip(0), [0.3, 0.5, 0.2])
    assert torch.equal(one, other)


def test_it_runs_where_gradients_are_forbidden(sources: Tensor) -> None:
    expected = start(sources, [0.2, 0.5, 0.3])
    norm_aware_paths.cache_clear()
    with torch.inference_mode():
        assert torch.equal(start(sources.clone(), [0.2, 0.5, 0.3]), expected)


def test_a_single_source_is_itself(sources: Tensor) -> None:
    assert torch.equal(start(sources[:1], [1.0]), sources[0])


def test_pieces_of_each_set_of_sources_are_found_once(sources: Tensor) -> None:
    norm_aware_paths.cache_clear()
    for weights in ([0.2, 0.5, 0.3], [0.6, 0.1, 0.3]):
        start(sources, weights)
    info = norm_aware_paths.cache_info()
    assert (info.misses, info.hits) == (1, 1)
