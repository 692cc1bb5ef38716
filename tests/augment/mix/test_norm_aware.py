"""Norm-aware optimisation: what its centroid and paths must be, and which of their points an image takes.

The authors' objective and their Adam over whole latents stand here once more: the oracle that ours must not lose to.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi
from torch import Tensor

from augment.mix.draws import Draws
from augment.mix.interpolation import slerp
from augment.mix.method import Material
from augment.mix.norm_aware import POINTS, Problem, log_chi, path_coefficients
from augment.mix.registry import METHODS

L = 64


@pytest.fixture(scope="module")
def sources() -> Tensor:
    return torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def paths(sources: Tensor) -> Tensor:
    return paths_of(sources.flatten(1))


def paths_of(ends: Tensor) -> Tensor:
    """Our paths [N, POINTS, L] between latents [N, L], float64."""
    ends = ends.double()
    products = tuple(map(tuple, (ends @ ends.T).tolist()))
    return path_coefficients(products, ends.shape[1]) @ ends


def inverted(count: int, length: int, seed: int, spread: float = 0.03) -> Tensor:
    """Latents as inversion gives them: something in common, and norms that differ by some percent."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, length, generator=generator)
    scale = 1 + spread * torch.randn(count, 1, generator=generator)
    return scale * noise + 0.3 * torch.randn(length, generator=generator)


def start(sources: Tensor, weights: list[float]) -> Tensor:
    return METHODS["nao"].start(Material(sources, torch.tensor(weights), "a cat", Draws(0, 0, 0))).latent[0]


def straight(sources: Tensor) -> Tensor:
    ends = sources.flatten(1)
    return torch.stack([torch.lerp(ends.mean(dim=0), ends, float(t)) for t in torch.linspace(0, 1, POINTS)], dim=1)


# The oracle.


def log_density(norm: Tensor, degrees: int) -> Tensor:
    constant = (degrees / 2 - 1) * math.log(2) + math.lgamma(degrees / 2)
    return (degrees - 1) * norm.log() - norm.square() / 2 - constant


def log_likelihood(paths: Tensor) -> tuple[Tensor, Tensor]:
    """The line integral of f along paths [N, POINTS, L] by the midpoint rule [N], and all steps [N, POINTS - 1]."""
    steps = (paths[:, 1:] - paths[:, :-1]).norm(dim=2)
    norms = ((paths[:, 1:] + paths[:, :-1]) / 2).norm(dim=2)
    return (steps * log_density(norms, paths.shape[2])).sum(dim=1), steps


def objective(paths: Tensor) -> Tensor:
    """What the authors minimise: see `Problem.cost`."""
    integrals, steps = log_likelihood(paths)
    eps = 2 * torch.cdist(paths[:, -1], paths[:, -1]).max() / POINTS
    return (steps - eps).relu().sum() - integrals.sum() - log_density(paths[0, 0].norm(), paths.shape[2])


def adam(ends: Tensor, iterations: int) -> Tensor:
    """The authors' search over whole latents [N, L], from the mean and straight paths: [N, POINTS, L]."""
    share = torch.linspace(0, 1, POINTS)[None, 1:-1, None]
    centroid = ends.mean(dim=0)
    inner = (1 - share) * centroid + share * ends[:, None]
    optimizer = torch.optim.Adam([centroid.requires_grad_(True), inner.requires_grad_(True)], lr=0.01)

    def joined() -> Tensor:
        return torch.cat([centroid.expand(len(ends), 1, -1), inner, ends[:, None]], dim=1)

    last, still = math.inf, 0
    for _ in range(iterations):
        loss = objective(joined())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        still = still + 1 if abs(last - float(loss.detach())) < 0.01 else 0
        last = float(loss.detach())
        if still == 5:
            break
    return joined().detach()


@pytest.mark.parametrize("length", [256, 1024])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_no_search_over_whole_latents_finds_a_lower_objective(count: int, length: int) -> None:
    for seed in (0, 1):
        ends = inverted(count, length, seed)
        theirs, ours = adam(ends, 600).double(), paths_of(ends)
        assert float(objective(ours)) < float(objective(theirs))


@pytest.mark.parametrize("count", [3, 5])
def test_nor_where_sources_lie_far_off_the_sphere(count: int) -> None:
    """The embedded digits' inverted latents have two thirds of the likeliest norm."""
    ends = 0.7 * inverted(count, 256, 0)
    assert float(objective(paths_of(ends))) < float(objective(adam(ends, 600).double()))


@pytest.mark.parametrize("copies", [[0, 0, 1], [0, 0, 0]])
def test_nor_where_sources_are_equal(copies: list[int]) -> None:
    ends = inverted(2, 256, 0)[copies]
    assert float(objective(paths_of(ends))) < float(objective(adam(ends, 600).double()))


# The search.


def problem_of(ends: Tensor) -> Problem:
    values, vectors = np.linalg.eigh((ends.double() @ ends.double().T).numpy())
    return Problem(vectors * np.sqrt(values), ends.shape[1])


def test_log_density_is_the_chi_distributions() -> None:
    for norm in (1.0, 7.5, 12.0):
        assert float(log_chi(np.array(norm), L)) == pytest.approx(chi.logpdf(norm, L), abs=1e-10)
    for norm in (100.0, 127.0, 128.0, 150.0):
        assert float(log_chi(np.array(norm), 16384)) == pytest.approx(chi.logpdf(norm, 16384), abs=1e-8)


def test_integral_of_a_circle_is_its_length_times_the_density() -> None:
    angles = torch.linspace(0, math.pi, 1000)
    arc = torch.zeros(1, 1000, L)
    arc[0, :, 0], arc[0, :, 1] = 8 * angles.cos(), 8 * angles.sin()
    integral, steps = log_likelihood(arc)
    assert float(steps.sum()) == pytest.approx(8 * math.pi, rel=1e-4)
    assert float(integral) == pytest.approx(8 * math.pi * chi.logpdf(8, L), rel=1e-3)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("scale", [0, 0.1, 0.5])
def test_what_is_minimised_is_the_objective(count: int, scale: float) -> None:
    """At the first guess and anywhere else, but for what rounding off tips (and corners, by `corner`) adds."""
    problem = problem_of(inverted(count, 256, 0))
    x = problem.first_guess()
    x += scale * np.random.default_rng(0).standard_normal(len(x))
    # Coordinates of the span are a latent's first numbers; the density is that of all 256.
    points = torch.nn.functional.pad(torch.from_numpy(problem.points(x)), (0, 256 - count))
    exact = float(objective(points))
    assert exact <= problem.cost(x)[0] <= 1.002 * exact + 0.02
    # A corner adds at most a quarter of its width to a step.
    assert problem.cost(x)[0] <= problem.cost(x, 1e-3)[0] <= problem.cost(x)[0] + count * 49 * 1e-3 * 16 / 4


@pytest.mark.parametrize("count", [2, 3])
def test_wide_corners_are_parabolas(count: int) -> None:
    """Where every step lies within a corner of half-width w, it costs (step - eps + w)^2 / (4 w)."""
    problem = problem_of(inverted(count, 64, 0))
    x = problem.first_guess()
    points = torch.nn.functional.pad(torch.from_numpy(problem.points(x)), (0, 64 - count))
    integrals, steps = log_likelihood(points)
    width = 2.0 * 8  # a corner of 2, in units of sqrt(L)
    eps = 2 * torch.cdist(points[:, -1], points[:, -1]).max() / POINTS
    assert float((steps - eps).abs().max()) < width
    penalty = ((steps - eps + width) ** 2 / (4 * width)).sum()
    expected = penalty - integrals.sum() - log_density(points[0, 0].norm(), 64)
    # Tips rounded off by 1e-3 sqrt(L) add at most some 1e-4 to a step.
    assert problem.cost(x, 2.0)[0] == pytest.approx(float(expected), abs=count * 49 * 1e-3)


@pytest.mark.parametrize("degrees", [64, 256])
def test_a_step_of_no_length_counts_as_the_tip(degrees: int) -> None:
    """Two copies of a latent, and a centroid at the same place: 2 * 49 steps of 1e-3 sqrt(L), all beyond eps = 0."""
    unit = math.sqrt(degrees)
    problem = Problem(np.array([[unit, 0.0], [unit, 0.0]]), degrees)
    x = np.concatenate([[unit, 0.0], np.full(2 * (POINTS - 2), unit)])
    f = chi.logpdf(unit, degrees)
    assert problem.cost(x)[0] == pytest.approx(2 * 49 * 1e-3 * unit * (1 - f) - f, rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_each_path_leads_from_the_centroid_to_its_own_source(count: int) -> None:
    problem = problem_of(inverted(count, 64, 0))
    x = problem.first_guess()
    points = problem.points(x)
    np.testing.assert_allclose(points[:, -1], problem.ends, atol=1e-9)
    np.testing.assert_allclose(points[:, 0], np.broadcast_to(x[:count], (count, count)), atol=1e-9)
    value, gradient = problem.cost(x)
    assert gradient.shape == x.shape and math.isfinite(value)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_its_gradient_is_that_of_finite_differences(count: int) -> None:
    problem = problem_of(inverted(count, 64, 0))
    x = problem.first_guess()
    x += 0.1 * np.random.default_rng(0).standard_normal(len(x))
    moves = np.eye(len(x))
    if count == 2:  # c keeps its direction
        moves[0, :2] = x[:2]
        moves = np.delete(moves, 1, axis=0)
    found = moves @ problem.cost(x, 1e-3)[1]
    numeric = [(problem.cost(x + 1e-6 * e, 1e-3)[0] - problem.cost(x - 1e-6 * e, 1e-3)[0]) / 2e-6 for e in moves]
    np.testing.assert_allclose(found, numeric, atol=1e-5)


def test_it_starts_in_the_direction_in_which_the_authors_start() -> None:
    """Two sources: the middle of the arc; more: the mean."""
    for count in (2, 3):
        problem = problem_of(inverted(count, 64, 0))
        ends = torch.from_numpy(problem.ends)
        expected = slerp(*ends, 0.5) if count == 2 else ends.mean(dim=0)
        found = torch.from_numpy(problem.first_guess()[:count])
        assert float(torch.cosine_similarity(found, expected, dim=0)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [0.7, 1.3])
@pytest.mark.parametrize("count", [2, 3])
def test_it_starts_on_the_likeliest_sphere_and_leaves_it_at_the_end(count: int, scale: float) -> None:
    """Points one step of eps after the other: 47, 46, ... of them are still to be made after the first, the second."""
    problem = problem_of(scale * inverted(count, 64, 0))
    found = problem.first_guess()
    c, norms = found[:count], found[count:].reshape(count, POINTS - 2)
    distances = [np.linalg.norm(p - q) for p in problem.ends for q in problem.ends]
    eps, likeliest = 2 * max(distances) / POINTS, math.sqrt(64 - 1)
    assert np.linalg.norm(c) == pytest.approx(likeliest)
    for own, end in zip(norms, problem.ends, strict=True):
        off = float(np.linalg.norm(end)) - likeliest
        for place, norm in enumerate(own, 1):
            expected = likeliest + math.copysign(max(abs(off) - (POINTS - 1 - place) * eps, 0), off)
            assert norm == pytest.approx(expected, rel=1e-9)


def test_where_the_mean_has_no_direction_it_starts_at_the_first_source() -> None:
    """Three sources of no mean, of different norms."""
    p, q = inverted(2, 64, 0).double()
    problem = problem_of(torch.stack([p, q, -p - q]))
    np.testing.assert_allclose(problem.ends.sum(axis=0), 0, atol=1e-5)
    expected = problem.ends[0] / np.linalg.norm(problem.ends[0]) * math.sqrt(63)
    np.testing.assert_allclose(problem.first_guess()[:3], expected, rtol=1e-9)


def test_norms_stay_above_a_hundredth_of_the_nominal_one() -> None:
    problem = problem_of(inverted(3, 64, 0))
    assert problem.bounds() == [(None, None)] * 3 + [(0.01 * 8, None)] * (3 * (POINTS - 2))


def test_two_sources_meet_in_the_middle() -> None:
    """Nothing else than rounding would decide where else on their arc."""
    p, q = inverted(2, 256, 0)
    found = paths_of(torch.stack([p, q]))[0, 0].float()
    assert float(torch.cosine_similarity(found, slerp(p, q, 0.5), dim=0)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1, 0.7])
@pytest.mark.parametrize("length", [16, 64, 256, 1024, 16384])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_one_ulp_in_the_sources_moves_no_number_by_more_than_a_ten_thousandth(
    count: int, length: int, scale: float
) -> None:
    ends = scale * inverted(count, length, 0)
    towards = torch.where(torch.rand(ends.shape, generator=torch.Generator().manual_seed(1)) < 0.5, 9.0, -9.0)
    every, one = ends.nextafter(towards), ends.clone()
    one[0, 3] = one[0, 3].nextafter(torch.tensor(9.0))
    expected = paths_of(ends)
    for moved in (one, every):
        assert not torch.equal(moved, ends)
        assert float((paths_of(moved) - expected).abs().max()) < 1e-4


def test_a_source_that_is_there_twice_changes_its_neighbours_little() -> None:
    """From a distance of float32's rounding to none the result goes without a jump."""
    ends = inverted(3, 256, 0)
    twice, nearly = ends[[0, 1, 1, 2]], ends[[0, 1, 1, 2]].clone()
    nearly[2] = nearly[2] * (1 + 3e-7)
    torch.testing.assert_close(paths_of(nearly), paths_of(twice), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["opposite", "zero", "multiple", "dependent"])
def test_no_sources_give_no_numbers(kind: str) -> None:
    x, y = inverted(2, 64, 0)
    ends = {"opposite": [x, -x], "zero": [x, 0 * x, y], "multiple": [x, 2 * x], "dependent": [x, y, x + y]}[kind]
    found = paths_of(torch.stack(ends))
    assert found.isfinite().all()
    torch.testing.assert_close(found[:, -1], torch.stack(ends).double())


# What it finds.


def test_paths_lead_from_one_centroid_to_the_sources(paths: Tensor, sources: Tensor) -> None:
    assert paths.shape == (3, POINTS, L)
    assert torch.equal(paths[0, 0], paths[1, 0])
    assert torch.equal(paths[0, 0], paths[2, 0])
    assert torch.equal(paths[:, -1].float(), sources.flatten(1))


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
    torch.testing.assert_close(start(sources, [1 / 3] * 3).flatten(), paths[0, 0].float(), atol=1e-5, rtol=1e-5)
    for n in range(3):
        torch.testing.assert_close(start(sources, [float(n == m) for m in range(3)]), sources[n])


@pytest.mark.parametrize("weight", [0.34, 0.5, 0.8, 0.99, 0.9999])
@pytest.mark.parametrize("nearest", range(3))
def test_weights_say_how_far_along_the_path_to_the_nearest_source(
    paths: Tensor, sources: Tensor, weight: float, nearest: int
) -> None:
    """(N w - 1) / (N - 1) of the path's 49 steps, evenly between two points."""
    weights = [(1 - weight) / 2] * 3
    weights[nearest] = weight
    steps = (3 * weight - 1) / 2 * 49
    expected = [np.interp(steps, np.arange(50), paths[nearest, :, number].numpy()) for number in range(L)]
    torch.testing.assert_close(
        start(sources, weights).flatten(), torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=1e-5
    )


def test_two_sources_have_a_path_each(sources: Tensor) -> None:
    both = sources[:2]
    found = paths_of(both.flatten(1))
    assert float((start(both, [0.5, 0.5]).flatten() - found[0, 0]).abs().max()) < 1e-5
    # (2 w - 1) of 49 steps: 24.5 of them.
    expected = (found[1, 24] + found[1, 25]) / 2
    assert float((start(both, [0.25, 0.75]).flatten() - expected).abs().max()) < 1e-5


def test_the_order_of_the_sources_is_immaterial(sources: Tensor) -> None:
    one, other = start(sources, [0.2, 0.5, 0.3]), start(sources.flip(0), [0.3, 0.5, 0.2])
    assert torch.equal(one, other)


def test_it_runs_where_gradients_are_forbidden(sources: Tensor) -> None:
    expected = start(sources, [0.2, 0.5, 0.3])
    path_coefficients.cache_clear()
    with torch.inference_mode():
        assert torch.equal(start(sources.clone(), [0.2, 0.5, 0.3]), expected)


def test_a_single_source_is_itself(sources: Tensor) -> None:
    assert torch.equal(start(sources[:1], [1.0]), sources[0])


def test_pieces_of_each_set_of_sources_are_found_once(sources: Tensor) -> None:
    path_coefficients.cache_clear()
    for weights in ([0.2, 0.5, 0.3], [0.6, 0.1, 0.3]):
        start(sources, weights)
    info = path_coefficients.cache_info()
    assert (info.misses, info.hits) == (1, 1)


def test_what_is_kept_does_not_grow_with_the_latents() -> None:
    ends = inverted(3, 16384, 0).double()
    products = tuple(map(tuple, (ends @ ends.T).tolist()))
    assert path_coefficients(products, 16384).shape == (3, POINTS, 3)
