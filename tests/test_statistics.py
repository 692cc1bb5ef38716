import math

import numpy as np
import pytest
from scipy import stats

from classify.statistics import Estimate, estimate, paired


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
    assert not found.clear


@pytest.mark.parametrize(("mean", "half", "clear"), [(1.0, 0.5, True), (-1.0, 0.5, True), (0.4, 0.5, False)])
def test_a_difference_is_clear_when_its_interval_excludes_zero(mean: float, half: float, clear: bool) -> None:
    assert Estimate(mean, half, 5).clear is clear


def test_pairing_removes_what_the_seeds_share() -> None:
    seeds = np.random.default_rng(0).normal(0, 1, 20)
    gain = np.random.default_rng(1).normal(0.1, 0.01, 20)
    found = paired((seeds + gain).tolist(), seeds.tolist())
    assert (found.mean, found.half) == pytest.approx((estimate(gain).mean, estimate(gain).half))
    assert found.clear
    assert found.half < 0.1 * estimate(seeds).half


def test_unequal_lengths_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([1.0, 2.0], [1.0])
