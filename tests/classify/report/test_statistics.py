import math

import numpy as np
import pytest
from scipy import integrate, stats

from classify.report.power import detectable, more_seeds, pooled_deviation
from classify.report.statistics import (
    Comparison,
    Estimate,
    Spread,
    compare,
    compare_resampled,
    corrected,
    estimate,
    holm,
    rank_correlation,
    ranks,
    spread,
)


@pytest.mark.parametrize("count", [2, 3, 10, 50])
def test_interval_is_students(count: int) -> None:
    values = np.random.default_rng(count).normal(0.8, 0.05, count)
    found = estimate(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert found.count == count


def test_one_seed_has_no_interval() -> None:
    found = estimate([0.7])
    assert (found.mean, found.count) == (0.7, 1)
    assert math.isnan(found.half)
    assert not found.has_interval


def test_pairing_removes_what_the_seeds_share() -> None:
    seeds = np.random.default_rng(0).normal(0, 1, 20)
    gain = np.random.default_rng(1).normal(0.1, 0.01, 20)
    found = compare((seeds + gain).tolist(), seeds.tolist())
    assert (found.change.mean, found.change.half) == pytest.approx((estimate(gain).mean, estimate(gain).half))
    assert found.significant
    assert found.change.half < 0.1 * estimate(seeds).half


def test_the_test_agrees_with_its_interval() -> None:
    """Uncorrected, p < 0.05 exactly when the 95 % interval excludes zero."""
    for seed in range(50):
        random = np.random.default_rng(seed)
        first, second = random.normal(0.3, 1, 8).tolist(), random.normal(0, 1, 8).tolist()
        found = compare(first, second)
        assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue)
        assert found.significant == (abs(found.change.mean) > found.change.half)


def test_unequal_lengths_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare([1.0, 2.0], [1.0])


@pytest.mark.parametrize(("seeds", "p"), [(2, 0.5), (5, 0.0625), (6, 0.03125)])
def test_equal_differences_are_no_certainty(seeds: int, p: float) -> None:
    """Accuracies are counts: two seeds may well gain 8.8 points both, which the t-test takes for p = 0."""
    found = compare([0.1 * n + 0.088 for n in range(seeds)], [0.1 * n for n in range(seeds)])
    assert found.p == p
    assert compare([0.5] * seeds, [0.5] * seeds).p == 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_one_image_more_of_500_at_every_seed_is_no_certainty(seeds: int) -> None:
    """Accuracies are kept in float32, where equal differences of counts differ by rounding."""
    counts = [441, 452, 467, 430, 499][:seeds]
    second = [float(np.float32(n / 500)) for n in counts]
    first = [float(np.float32((n + 1) / 500)) for n in counts]
    assert np.ptp(np.subtract(first, second)) > 0
    found = compare(first, second)
    assert found.p == 2.0 ** (1 - seeds)
    assert not found.change.has_interval and found.tested and not found.significant


def test_two_images_at_one_seed_and_one_at_the_others_are_told_apart() -> None:
    first, second = (np.float32([n / 10**6 for n in counts]).tolist() for counts in ((2, 12, 23), (1, 11, 21)))
    assert compare(first, second).p == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_one_seed_is_no_test() -> None:
    found = compare([0.7], [0.6])
    assert math.isnan(found.p)
    assert not found.significant


def test_holm_by_hand() -> None:
    """Holm's example of three: 0.01 * 3, max(0.02 * 2, ...), max(0.03 * 1, ...)."""
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_test_that_was_not_made_does_not_count() -> None:
    first, second, third = holm([0.01, math.nan, 0.04])
    assert (first, third) == pytest.approx((0.02, 0.04))
    assert math.isnan(second)


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    """The definition: from the smallest p on, reject while p_(k) < level / (m - k + 1), and then no more."""
    for seed in range(100):
        p = np.random.default_rng(seed).beta(0.3, 2, 12).tolist()
        rejected = set()
        for place, n in enumerate(sorted(range(12), key=lambda n: p[n])):
            if p[n] >= 0.05 / (12 - place):
                break
            rejected.add(n)
        assert {n for n, value in enumerate(holm(p)) if value < 0.05} == rejected


def test_correction_changes_p_alone() -> None:
    made = {name: Comparison(Estimate(0.1, 0.05, 5), p, p) for name, p in {"a": 0.01, "b": 0.04}.items()}
    found = corrected(made)
    assert [c.adjusted for c in found.values()] == pytest.approx([0.02, 0.04])
    assert all(found[name].change == made[name].change and found[name].p == made[name].p for name in made)


def test_ranks_share_their_mean_where_scores_are_equal() -> None:
    assert ranks({"a": 0.5, "b": 0.9, "c": 0.5, "d": 0.1}) == {"b": 1, "a": 2.5, "c": 2.5, "d": 4}


def test_rank_correlation_by_hand() -> None:
    """1 - 6 * sum d^2 / (n (n^2 - 1)) without ties, d = 0, ..., 0, 1, -1."""
    first = list(range(10))
    found = rank_correlation(first, [*range(8), 9, 8])
    assert found is not None
    assert (found.value, found.count) == (pytest.approx(1 - 6 * 2 / (10 * 99)), 10)
    assert rank_correlation(first, first[::-1]).value == pytest.approx(-1)
    assert rank_correlation(first[:9], first[:9]) is None
    assert rank_correlation([1] * 10, first) is None


def test_the_interval_of_a_correlation_covers_it() -> None:
    """In about 95 of 100 samples of 20 normal pairs; Spearman's of Pearson's 0.5 is 6 / pi * asin(0.25)."""
    random, truth, covered = np.random.default_rng(0), 6 / np.pi * np.arcsin(0.25), 0
    for _ in range(1000):
        x, y = random.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 20).T
        found = rank_correlation(x.tolist(), y.tolist())
        assert -1 <= found.low < found.value < found.high <= 1
        covered += found.low < truth < found.high
    assert 930 < covered < 970


@pytest.mark.parametrize(("seeds", "comparisons"), [(3, 1), (5, 1), (5, 8), (10, 8), (30, 30)])
def test_the_smallest_visible_difference_has_its_power_under_scipys_noncentral_t(seeds: int, comparisons: int) -> None:
    shift = detectable(2.0, seeds, comparisons) / 2.0 * seeds**0.5
    edge = stats.t.isf(0.025 / comparisons, seeds - 1)
    power = stats.nct.sf(edge, seeds - 1, shift) + stats.nct.cdf(-edge, seeds - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_four_of_five_studies_find_the_smallest_visible_difference() -> None:
    random = np.random.default_rng(0)
    differences = random.normal(detectable(1.0, 4, 6), 1.0, (20000, 4))
    found = stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05 / 6
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_more_seeds_show_smaller_differences_and_more_rows_larger_ones() -> None:
    assert detectable(1, 3, 8) > detectable(1, 10, 8) > detectable(1, 30, 8) > detectable(1, 30, 1)
    assert detectable(1, 3, 8) == pytest.approx(9.26, abs=0.01)
    assert math.isfinite(detectable(1, 2, 100))
    assert all(math.isnan(value) for value in (detectable(1, 1, 8), detectable(0, 3, 8), detectable(math.nan, 3, 8)))
    assert [more_seeds(seeds) for seeds in (3, 5, 6, 15, 50, 51)] == [10, 10, 30, 30, 100, None]


def test_deviations_are_pooled_by_their_degrees_of_freedom() -> None:
    first, second = [0.1, 0.2, 0.6], [0.0, 0.5]
    made = [compare(values, [0.0] * len(values)) for values in (first, second, [0.3])]
    expected = (2 * np.var(first, ddof=1) + np.var(second, ddof=1)) / 3
    assert pooled_deviation(made) == pytest.approx(expected**0.5)
    assert math.isnan(pooled_deviation(made[2:]))


def test_spread_is_the_standard_deviation_of_repeats() -> None:
    assert spread([1.0, 3.0]) == Spread(2.0, pytest.approx(2**0.5))
    assert math.isnan(spread([1.0]).deviation)


def test_float32_accuracies_are_averaged_in_float64() -> None:
    values = list(np.random.default_rng(0).normal(0.8, 0.05, 50).astype(np.float32))
    found, exact = estimate(values), estimate([float(value) for value in values])
    assert (found.mean, found.half) == (exact.mean, exact.half)


def test_methods_that_recognise_nothing_are_equal() -> None:
    found = compare([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    assert (found.p, found.change.mean) == (1.0, 0.0)
    assert not found.change.has_interval and not found.significant


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
def test_no_seeds_are_no_test() -> None:
    found = compare([], [])
    assert found.change.count == 0
    assert not found.tested and not found.significant


@pytest.mark.parametrize(("count", "ratio"), [(2, 0.5), (10, 0.25), (15, 1 / 9), (100, 1.0)])
def test_the_resampled_test_is_that_of_nadeau_and_bengio(count: int, ratio: float) -> None:
    """Their statistic written out, with p from the integral of Student's density."""
    random = np.random.default_rng(count)
    first, second = random.normal(0.7, 0.05, count), random.normal(0.68, 0.05, count)
    found = compare_resampled(first.tolist(), second.tolist(), ratio)
    differences = [float(a - b) for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / count
    variance = sum((one - mean) ** 2 for one in differences) / (count - 1)
    statistic = mean / math.sqrt((1 / count + ratio) * variance)
    tail, _ = integrate.quad(lambda t: stats.t.pdf(t, count - 1), abs(statistic), math.inf)
    assert found.change.mean == pytest.approx(mean)
    assert found.p == pytest.approx(2 * tail, rel=1e-6)
    edge = found.change.half / math.sqrt((1 / count + ratio) * variance)  # 2.5 % of the density lie beyond it
    beyond, _ = integrate.quad(lambda t: stats.t.pdf(t, count - 1), edge, math.inf)
    assert beyond == pytest.approx(0.025, rel=1e-5)


def test_without_overlap_the_resampled_test_is_the_paired_t_test() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0, 1, 12).tolist(), random.normal(0.5, 1, 12).tolist()
    plain, resampled = compare(first, second), compare_resampled(first, second, 0.0)
    assert (resampled.p, resampled.change.half) == pytest.approx((plain.p, plain.change.half))


def test_overlap_makes_the_resampled_test_less_sure() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(1, 1, 10).tolist(), random.normal(0, 1, 10).tolist()
    assert compare_resampled(first, second, 0.25).p > compare(first, second).p


def test_folds_that_all_differ_alike_are_not_tested() -> None:
    alike = compare_resampled([0.6, 0.7, 0.8], [0.5, 0.6, 0.7], 0.25)
    assert not alike.tested
    assert not alike.significant
    equal = compare_resampled([0.5, 0.6], [0.5, 0.6], 0.25)
    assert (equal.p, equal.change.mean) == (1.0, 0.0)
    assert not compare_resampled([0.5], [0.4], 0.25).tested


def test_false_findings_of_overlapping_folds_are_rare() -> None:
    """Folds drawn again and again from the same few images: the plain test finds a difference far too often."""
    random = np.random.default_rng(0)
    plain = resampled = 0
    for _ in range(300):
        images = random.normal(0, 1, 20)  # of each image: how much better one of two equal classifiers does on it
        folds = [float(images[random.permutation(20)[:4]].mean()) for _ in range(15)]
        plain += compare(folds, [0.0] * 15).significant
        resampled += compare_resampled(folds, [0.0] * 15, 4 / 16).significant
    assert plain > 60
    assert resampled < 30
