"""Every set metric against an implementation that shares no code with it, and against what must be true of it."""

from collections.abc import Iterator

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from augment.errors import UserError
from augment.measure import metrics
from augment.measure.features import Features
from augment.measure.metrics import (
    check_classes,
    class_cosine,
    diversity,
    frechet_distance,
    is_frechet,
    kernel_distance,
    measure,
    nearest,
    nearest_neighbours,
    precision_recall_density_coverage,
    recognised,
)

D = 24


def sample(n: int, seed: int, shift: float = 0.0, features: int = D) -> Tensor:
    """Features like those of a network: positive, of unequal variance, correlated; float32 [n, features]."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(features, features)) / features**0.5
    return torch.from_numpy(np.abs(random.normal(size=(n, features)) @ mixing + 0.5) + shift).float()


SIZES = [(150, 130, D), (12, 20, D), (2, 2, D), (40, 50, 256)]


@pytest.fixture(params=SIZES, ids=str)
def sets(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    n, m, features = request.param
    return sample(n, 0, features=features), sample(m, 1, shift=0.2, features=features)


@pytest.fixture(params=[3, 10_000])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """No result may depend on how many rows are worked on at a time."""
    monkeypatch.setattr(metrics, "CHUNK", request.param)
    yield request.param


# Fréchet distance.


def test_frechet_is_the_formula_with_a_matrix_square_root(sets: tuple[Tensor, Tensor]) -> None:
    """As clean-fid and torch-fidelity write it: sqrtm of the product, here of two full-rank covariances."""
    x, y = (s.double().numpy() for s in sets)
    s1, s2 = (np.cov(s, rowvar=False) + 1e-10 * np.eye(s.shape[1]) for s in (x, y))
    root = scipy.linalg.sqrtm(s1 @ s2).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * np.trace(root)
    assert expected > 0.1
    assert frechet_distance(*sets) == pytest.approx(expected, rel=1e-4)


class Given(nn.Module):
    """Features in, features out."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features


def test_frechet_is_torchmetrics_distance_of_the_same_features() -> None:
    x, y = sample(150, 0).double(), sample(130, 1, 0.2).double()
    theirs = FrechetInceptionDistance(Given(D))
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert frechet_distance(x, y) == pytest.approx(float(theirs.compute()), rel=1e-9)


def test_frechet_of_gaussians_on_a_line() -> None:
    """(μ₁ - μ₂)² + (σ₁ - σ₂)² in one dimension."""
    x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [8.0]])  # σ² = 2 and 18
    assert frechet_distance(x, y) == pytest.approx(25 + (18**0.5 - 2**0.5) ** 2, rel=1e-12)


def test_frechet_of_a_set_and_itself_is_zero_even_with_fewer_images_than_features() -> None:
    for n, features in ((100, D), (10, 200)):
        assert frechet_distance(sample(n, 0, features=features), sample(n, 0, features=features)) < 1e-10


def test_a_shift_moves_frechet_by_its_square() -> None:
    x = sample(100, 0)
    assert frechet_distance(x, x + 0.25) == pytest.approx(D * 0.25**2, rel=1e-5)


# Kernel distance.


def clean_fid_kid(x: np.ndarray, y: np.ndarray, subsets: int, size: int) -> float:
    """KID as clean-fid computes it: sums of polynomial kernels over random subsets."""
    random = np.random.default_rng(0)
    total = 0.0
    for _ in range(subsets):
        a = x[random.choice(len(x), size, replace=False)]
        b = y[random.choice(len(y), size, replace=False)]
        within = (a @ a.T / x.shape[1] + 1) ** 3 + (b @ b.T / x.shape[1] + 1) ** 3
        between = (a @ b.T / x.shape[1] + 1) ** 3
        total += (within.sum() - np.diag(within).sum()) / (size - 1) - between.sum() * 2 / size
    return total / subsets / size


def test_kernel_distance_of_equal_numbers_is_kid_over_one_whole_subset(chunk: int) -> None:
    for n in (2, 50):
        x, y = sample(n, 0), sample(n, 1, 0.2)
        expected = clean_fid_kid(x.double().numpy(), y.double().numpy(), 1, n)
        assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_the_mean_of_kid_over_subsets() -> None:
    x, y = sample(60, 0), sample(80, 1, 0.2)
    expected = clean_fid_kid(x.double().numpy(), y.double().numpy(), 3000, 30)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=0.02)


def test_kernel_distance_has_no_bias_in_small_sets() -> None:
    """Between sets of one distribution it scatters about zero, where a biased estimate would be above."""
    found = np.array([kernel_distance(sample(10, 2 * n), sample(15, 2 * n + 1)) for n in range(200)])
    assert (found < 0).any()
    assert abs(found.mean()) < 3 * found.std() / 200**0.5
    assert kernel_distance(sample(10, 0), sample(15, 1, shift=1.0)) > 20 * found.std()


# Precision, recall, density, coverage.


@pytest.mark.parametrize(("n", "m"), [(90, 70), (7, 50), (50, 7)])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 0.3])
@pytest.mark.usefixtures("chunk")
def test_against_the_prdc_package(n: int, m: int, k: int, shift: float) -> None:
    prdc = pytest.importorskip("prdc", reason="the reference implementation is not installed")
    x, y = sample(n, 0), sample(m, 1, shift)
    expected = prdc.compute_prdc(x.double().numpy(), y.double().numpy(), k)
    assert precision_recall_density_coverage(x, y, k) == pytest.approx(expected, rel=1e-12)


def test_four_metrics_counted_by_hand() -> None:
    """On a line with k = 1: real balls (-1, 1), (0, 2), (7, 13) of the points 0, 1, 10; synthetic points at the stars.

    Synthetic 0.5, 0.75, 30, 40 have balls (0.25, 0.75), (0.5, 1), (20, 40), (30, 50).
    """
    x = torch.tensor([[0.0], [1.0], [10.0]])
    y = torch.tensor([[0.5], [0.75], [30.0], [40.0]])
    found = precision_recall_density_coverage(x, y, k=1)
    # 0.5 and 0.75 are in two real balls each; no real point is inside a synthetic ball (1 is on an edge).
    assert found == {"precision": 2 / 4, "recall": 0, "density": 4 / 4, "coverage": 2 / 3}
    assert precision_recall_density_coverage(y, x, k=1)["precision"] == 0


@pytest.mark.usefixtures("chunk")
def test_equal_sets_are_wholly_precise_and_covered() -> None:
    x = sample(40, 0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    expected = {"precision": 1, "recall": 1, "density": pytest.approx(1), "coverage": 1}
    assert precision_recall_density_coverage(x, x[order]) == expected


def test_a_ball_ends_where_distances_are_no_longer_told_from_its_radius() -> None:
    """2^22 and 2^22 - 1 differ by one in 2^22, the least that counts: the one below is on the edge, and outside."""
    x = torch.tensor([[0.0], [2.0**22]])
    for nearer, inside in ((1, 0.0), (2, 0.5)):
        y = torch.tensor([[2.0**22 - nearer], [-(2.0**23)]])
        # The ball of 0 is meant; that of 2^22 holds the point in any case.
        found = precision_recall_density_coverage(x, y, k=1)
        assert found["density"] == 0.5 + inside
        # And the other way round: the real point 0 is the synthetic ball's.
        found = precision_recall_density_coverage(y, x, k=1)
        assert found["recall"] == 0.5


def test_distant_sets_share_nothing() -> None:
    x = sample(40, 0)
    found = precision_recall_density_coverage(x, x + 100)
    assert found == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_a_collapsed_set_is_precise_but_covers_little() -> None:
    x = sample(100, 0)
    found = precision_recall_density_coverage(x, x[:1] + 1e-3 * sample(100, 1))
    assert found["precision"] == 1
    assert found["recall"] < 0.1 and found["coverage"] < 0.5


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("features", [D, 2048])
def test_one_image_again_and_again_has_balls_of_no_size(features: int) -> None:
    """With more than k equal images the radius is zero, whatever rounding makes of it."""
    x = sample(40, 0, features=features)
    found = precision_recall_density_coverage(x, x[:1].repeat(20, 1))
    assert (found["precision"], found["recall"]) == (1, 0)


# Classes.


def labelled(values: Tensor, classes: str, sha256s: str = "") -> Features:
    return Features("x", values, tuple(classes), tuple(sha256s))


def test_cosine_is_to_the_mean_embedding_of_the_images_own_class() -> None:
    real = labelled(torch.tensor([[2.0, 0], [0, 2], [0, 1], [0, 5], [9, 9]]), "aabbc")
    made = labelled(torch.tensor([[3.0, 3], [1, 0], [0, 7]]), "aab")
    # Class a: mean (1, 1), cosines 1 and 1/√2; class b: mean (0, 3), cosine 1.
    expected = ((1 - 1 + 1 - 0.5**0.5) / 2 + 0) / 2
    assert class_cosine(real, made) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["fid", "fd_x", "fd_dinov2"])
def test_frechet_distances_by_name(name: str) -> None:
    assert is_frechet(name)
    for other in (f"x{name}", name.upper(), "kid", "kd_x", "fidelity", "cosine_fd_x"):
        assert not is_frechet(other)


def test_cosine_is_scipys() -> None:
    real, made = sample(30, 0), sample(20, 1)
    expected = np.mean([scipy.spatial.distance.cosine(row, real.double().mean(0)) for row in made.double()])
    found = class_cosine(labelled(real, "a" * 30), labelled(made, "a" * 20))
    assert found == pytest.approx(expected, rel=1e-9)


def test_recognised_are_those_nearest_to_their_own_class_mean() -> None:
    """Means 0 and 4 on a line: 1.9 and -3 belong to a, 2.1 and 9 to b."""
    real = labelled(torch.tensor([[-1.0], [1.0], [2.0], [6.0]]), "aabb")
    images = torch.tensor([[1.9], [-3.0], [2.1], [9.0]])
    for classes, share in (("aabb", 1), ("aaab", 0.75), ("abab", 0.5), ("bbba", 0.25), ("bbaa", 0)):
        assert recognised(real, labelled(images, classes)) == share


@pytest.mark.usefixtures("chunk")
def test_diversity_is_the_mean_of_scipys_pairwise_distances() -> None:
    values = sample(30, 0)
    features = labelled(values, "a" * 10 + "b" * 19 + "c")
    expected = [scipy.spatial.distance.pdist(part.double()).mean() for part in (values[:10], values[10:29])]
    assert diversity(features) == pytest.approx(np.mean(expected), rel=1e-9)


def test_diversity_needs_two_images_of_a_class() -> None:
    assert diversity(labelled(sample(3, 0), "abc")) is None
    assert diversity(labelled(sample(1, 0).repeat(3, 1), "aaa")) == 0
    assert diversity(labelled(torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]]), "aab")) == 5


@pytest.mark.usefixtures("chunk")
def test_nearest_is_scipys_tree() -> None:
    x, y = sample(30, 0), sample(20, 1)
    expected, _ = scipy.spatial.KDTree(y.double()).query(x.double())
    np.testing.assert_allclose(nearest(x, y), expected, rtol=1e-9)
    assert nearest(y, y).tolist() == [0] * 20
    assert nearest_neighbours(x, y)[1].tolist() == scipy.spatial.KDTree(y).query(x)[1].tolist()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_distances_end_where_float32_ends(scale: float) -> None:
    """One ulp is no distance, at any size of the features; a ten thousandth of them is one."""
    x = scale * sample(20, 0)
    assert nearest(x.nextafter(torch.tensor(torch.inf)), x).tolist() == [0] * 20
    near, far = torch.tensor([[scale, 0.0]]), torch.tensor([[scale * 1.0001, 0.0]])
    assert float(nearest(near, far)) == pytest.approx(float(far[0, 0].double() - near[0, 0].double()), rel=1e-6)


# All together.


CLASSES = "ab" * 20


def both(shift: float = 0.0, name: str = "x") -> tuple[Features, Features]:
    real = Features(name, sample(40, 0), tuple(CLASSES), tuple(f"{n:02d}" for n in range(40)))
    return real, Features(name, sample(40, 1, shift), tuple(CLASSES))


def few(real: Features, count: int) -> Features:
    return Features(real.extractor, real.values[:count], real.classes[:count], real.sha256s[:count])


def test_measure_gives_every_metric_by_its_function() -> None:
    real, made = both(0.1)
    shots = few(real, 6)
    found = measure(real, made, shots)
    x, y = real.values, made.values
    expected = {
        "fd_x": frechet_distance(x, y),
        "kd_x": kernel_distance(x, y),
        "cosine_x": class_cosine(real, made),
        "recognised_x": recognised(real, made),
        **{f"{name}_x": value for name, value in precision_recall_density_coverage(x, y, 5).items()},
        "diversity_x": diversity(made),
        "diversity_real_x": diversity(real),
        "nearest_x": np.median(nearest(y, shots.values)),
        "nearest_real_x": np.median(nearest(x[6:], shots.values)),
    }
    assert list(found.values) == list(expected)
    assert found.values == pytest.approx(expected)
    assert found.caveats == []


@pytest.mark.parametrize(
    ("extractor", "names"),
    [
        ("inception", ["fid", "kid", "cosine_inception", "recognised_inception"]),
        ("clip", ["fd_clip", "kd_clip", "clip_distance", "recognised_clip"]),
        ("dinov2", ["fd_dinov2", "kd_dinov2", "cosine_dinov2", "recognised_dinov2"]),
    ],
)
def test_only_inceptions_distances_are_called_fid_and_kid(extractor: str, names: list[str]) -> None:
    assert list(measure(*both(name=extractor)).values)[:4] == names


def test_equal_sets_are_at_no_distance() -> None:
    real, _ = both()
    found = measure(real, Features("x", real.values, real.classes)).values
    assert found["fd_x"] < 1e-10
    assert found["diversity_x"] == found["diversity_real_x"]
    assert [found[f"{name}_x"] for name in ("precision", "recall", "coverage")] == [1, 1, 1]


def test_the_order_of_the_images_says_nothing() -> None:
    real, made = both(0.1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))

    def turned(features: Features) -> Features:
        columns = (features.classes, features.sha256s or features.classes)
        classes, sha256s = (tuple(column[n] for n in order) for column in columns)
        return Features("x", features.values[order], classes, sha256s)

    first = measure(real, made, few(real, 6)).values
    assert measure(turned(real), turned(made), few(real, 6)).values == pytest.approx(first, rel=1e-9, abs=1e-12)


def test_copies_of_the_few_shot_set_are_seen_to_be_memorised() -> None:
    real, made = both()
    shots = few(real, 6)
    copies = Features("x", shots.values.repeat(3, 1), shots.classes * 3)
    memorised, honest = measure(real, copies, shots).values, measure(real, made, shots).values
    assert memorised["nearest_x"] == 0
    assert memorised["nearest_real_x"] == honest["nearest_real_x"] > 0
    assert honest["nearest_x"] > 0.5 * honest["nearest_real_x"]


def test_a_shift_leaves_diversity_as_it_is() -> None:
    real, made = both()
    shifted = Features("x", made.values + 1, made.classes)
    before, after = measure(real, made).values, measure(real, shifted).values
    assert after["diversity_x"] == pytest.approx(before["diversity_x"], rel=1e-5)
    assert after["diversity_real_x"] == before["diversity_real_x"]
    assert after["fd_x"] > before["fd_x"] + 0.9 * D
    assert after["kd_x"] > before["kd_x"]
    assert after["precision_x"] < before["precision_x"]


# Small sets.


@pytest.mark.parametrize(("n", "m"), [(0, 10), (1, 10), (10, 0), (10, 1)])
def test_fewer_than_two_images_have_no_distance(n: int, m: int) -> None:
    real, made = (labelled(sample(count, 0), "a" * count) for count in (n, m))
    with pytest.raises(UserError) as error:
        measure(real, made)
    assert str(error.value) == f"fd_x: needs two real and two synthetic images, got {n} and {m}; give more images"


def test_small_sets_are_measured_with_caveats() -> None:
    real = labelled(sample(5, 0), "aaaab", "vwxyz")
    made = labelled(sample(4, 1), "aaab")
    found = measure(real, made, Features("x", real.values, real.classes, real.sha256s))
    assert list(found.values) == [
        *("fd_x", "kd_x", "cosine_x", "recognised_x"),
        *("diversity_x", "diversity_real_x", "nearest_x"),
    ]
    assert found.caveats == [
        "fd_x: 5 real and 4 synthetic images for 24 features leave a covariance without full rank, and the distance "
        "is biased upwards; compare it between sets of these sizes alone",
        "precision, recall, density, coverage: need more than 5 real and synthetic images, got 5 and 4; left out",
        "diversity_x: class 'b' has one image; 1 such classes are left out",
        "diversity_real_x: class 'b' has one image; 1 such classes are left out",
        "nearest_real_x: every real image is in the few-shot set; left out",
    ]


@pytest.mark.parametrize(("count", "biased"), [(D - 1, True), (D, True), (D + 1, False)])
def test_a_covariance_of_full_rank_needs_more_images_than_features(count: int, biased: bool) -> None:
    for n, m in ((count, 40), (40, count)):
        real, made = labelled(sample(n, 0), "a" * n), labelled(sample(m, 1), "a" * m)
        assert any("without full rank" in caveat for caveat in measure(real, made).caveats) == biased


@pytest.mark.parametrize(("count", "measured"), [(5, False), (6, True)])
def test_balls_need_more_images_than_neighbours(count: int, measured: bool) -> None:
    for n, m in ((count, 9), (9, count)):
        found = measure(labelled(sample(n, 0), "a" * n), labelled(sample(m, 1), "a" * m))
        assert ("precision_x" in found.values) == measured
        assert any("left out" in caveat for caveat in found.caveats) != measured


def test_two_images_a_class_are_enough_for_diversity() -> None:
    found = measure(labelled(sample(4, 0), "aabb"), labelled(sample(4, 1), "aabb"))
    assert not any("diversity" in caveat for caveat in found.caveats)
    assert found.values["diversity_x"] == diversity(labelled(sample(4, 1), "aabb"))


def test_one_image_a_class_has_no_diversity() -> None:
    found = measure(labelled(sample(4, 0), "aabb"), labelled(sample(2, 1), "ab"))
    assert "diversity_x" not in found.values
    assert found.values["diversity_real_x"] > 0
    assert "diversity_x: class 'a' has one image; 2 such classes are left out" in found.caveats


def test_a_class_that_the_reference_lacks() -> None:
    with pytest.raises(UserError) as error:
        measure(labelled(sample(4, 0), "aabb"), labelled(sample(4, 1), "aacc"))
    assert str(error.value) == (
        "reference: no real image of class 'c', which the synthetic set has; give a `reference` folder with its classes"
    )
    check_classes("abc", "ab")
