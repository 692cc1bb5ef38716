import numpy as np
import pytest
import torch

from augment.errors import UserError
from augment.mix.draws import Draws, Mixing, Mixture, count_sources, draw_mixture, noise_seed


def draw(
    mixing: Mixing | None = None, count: int = 3, available: int = 5, seed: int = 0, label: int = 0, index: int = 0
) -> Mixture:
    return draw_mixture(mixing or Mixing(), count, available, seed, label, index)


def test_a_draw_depends_on_nothing_that_was_drawn_before() -> None:
    alone = draw(label=2, index=7)
    for index in range(20):
        np.random.seed(index)
        draw(label=1, index=index)
    assert draw(label=2, index=7) == alone


def test_seed_class_and_index_each_change_the_draw() -> None:
    draws = [draw(seed=s, label=c, index=n) for s in range(3) for c in range(3) for n in range(3)]
    assert len({mixture.weights for mixture in draws}) == 27


@pytest.mark.parametrize("mixing", [Mixing(), Mixing(concentration=0.1), Mixing(weights="centroid")])
def test_weights_are_convex_and_sources_distinct(mixing: Mixing) -> None:
    for index in range(200):
        mixture = draw(mixing, index=index)
        assert len(mixture.sources) == len(set(mixture.sources)) == len(mixture.weights) == 3
        assert set(mixture.sources) <= set(range(5))
        assert min(mixture.weights) >= 0
        assert sum(mixture.weights) == pytest.approx(1, abs=1e-12)


def test_every_image_of_a_class_is_used_equally_often() -> None:
    """600 draws of 3 out of 5: 360 each, deviation sqrt(600 * 0.6 * 0.4) = 12; five of it."""
    counts = np.bincount([s for index in range(600) for s in draw(index=index).sources], minlength=5)
    assert np.abs(counts - 360).max() < 60


def test_centroid_weighs_all_sources_alike() -> None:
    for count in (1, 2, 4):
        assert draw(Mixing(weights="centroid"), count=count).weights == (1 / count,) * count


def test_centroid_and_dirichlet_mix_the_same_sources() -> None:
    for index in range(20):
        assert draw(Mixing(weights="centroid"), index=index).sources == draw(index=index).sources


def test_concentration_moves_between_one_source_and_the_centroid() -> None:
    largest = {
        concentration: np.mean([max(draw(Mixing(concentration=concentration), index=n).weights) for n in range(100)])
        for concentration in (0.05, 1.0, 1000.0)
    }
    assert largest[0.05] > 0.9
    assert 0.5 < largest[1.0] < 0.75
    assert largest[1000.0] == pytest.approx(1 / 3, abs=0.03)


def test_plain_types_that_json_can_write() -> None:
    mixture = draw()
    assert {type(source) for source in mixture.sources} == {int}
    assert {type(weight) for weight in mixture.weights} == {float}


@pytest.mark.parametrize(("available", "expected"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_default_is_three_sources_or_all_there_are(available: int, expected: int) -> None:
    assert count_sources(Mixing(), available, "cat") == expected


def test_more_sources_than_shots_are_refused() -> None:
    assert count_sources(Mixing(sources=5), 5, "cat") == 5
    with pytest.raises(UserError, match="sources: 6 is greater than the 5 shots of class 'cat'; lower"):
        count_sources(Mixing(sources=6), 5, "cat")


# Each image's streams, as numpy's documentation says that seeds and spawn keys make them. Finished datasets hang on
# these numbers: another stream would make other images under the same fingerprint.


def stream(number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([4, 2, 7], spawn_key=(number,))


def halved(sequence: np.random.SeedSequence) -> int:
    """PyTorch takes 63 bits."""
    return int(sequence.generate_state(1, np.uint64)[0]) // 2


def test_a_mixture_is_drawn_by_numpys_generator_of_seed_class_and_index() -> None:
    random = np.random.default_rng([4, 2, 7])
    sources, weights = random.permutation(9)[:3], random.dirichlet([0.5, 0.5, 0.5])
    assert draw(Mixing(concentration=0.5), 3, 9, 4, 2, 7) == Mixture(tuple(sources.tolist()), tuple(weights.tolist()))


def test_the_streams_of_an_image() -> None:
    draws = Draws(4, 2, 7)
    assert noise_seed(4, 2, 7) == halved(stream(1)) < 2**63
    expected = torch.randn(2, 3, generator=torch.Generator().manual_seed(halved(stream(2))))
    assert torch.equal(draws.noise((2, 3)), expected)
    assert draws.uniform() == np.random.default_rng(stream(3)).random()
    for count in (1, 2, 10, 1000):
        assert draws.choose(count) == np.random.default_rng(stream(4)).integers(count)
    for labels in ([2, 5], [0, 1, 2, 3, 9], range(100)):
        others = [label for label in labels if label != 2]
        assert draws.other_class(labels) == others[np.random.default_rng(stream(5)).integers(len(others))]
    assert draws.prompt(50) == np.random.default_rng(stream(6)).integers(50)
    random = np.random.default_rng(stream(7))
    uniform, normal = draws.perturbations(2, 3)
    rows = [(random.random(3), random.standard_normal(3)) for _ in range(2)]
    assert np.allclose(uniform.flatten(1), [row for row, _ in rows]), "float32 of the same numbers"
    assert np.allclose(normal.flatten(1), [row for _, row in rows])
    assert draws.pattern().random() == np.random.default_rng(stream(8)).random()


def test_the_numbers_are_plain() -> None:
    draws = Draws(4, 2, 7)
    kinds = [type(x) for x in (noise_seed(4, 2, 7), draws.uniform(), draws.choose(3), draws.other_class([1, 2]))]
    assert kinds == [int, float, int, int]
    assert draws.noise((2, 3)).dtype == torch.float32


def test_these_numbers_are_the_same_on_every_machine() -> None:
    draws = Draws(0, 1, 2)
    assert noise_seed(0, 1, 2) == 9_073_989_070_547_056_002
    assert (draws.uniform(), draws.choose(1000), draws.other_class(range(1000))) == (0.9754910265826612, 645, 389)


def test_no_sources_have_no_weights() -> None:
    """Methods that start from noise alone."""
    assert draw(count=0) == draw(Mixing(weights="centroid"), count=0) == Mixture((), ())


def test_sources_may_be_left_to_the_default() -> None:
    assert (Mixing().sources, Mixing().weights, Mixing().concentration) == (None, "dirichlet", 1.0)
    assert count_sources(Mixing(sources=1), 5, "cat") == 1
    assert count_sources(Mixing(), 0, "cat") == 0
