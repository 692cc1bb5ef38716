import math
from typing import Any

import pytest

from classify.report import number, percent, points, summarize
from classify.statistics import Estimate, estimate


def row(method: str, seed: int, top1: float, **more: float) -> dict[str, Any]:
    seconds = {"train": 2.0, "test": 0.5} | ({} if method == "none" else {"invert": 1.0 + seed, "synthesize": 4.0})
    distance = {} if method == "none" else {"fd_tiny": 10.0 + seed}
    return {"method": method, "seed": seed, "shots": 5, "top1": top1, "seconds": seconds} | distance | more


ROWS = [
    row("none", 0, 0.80),
    row("fix/0", 0, 0.78),
    row("fix/chm", 0, 0.85),
    row("none", 1, 0.70),
    row("fix/0", 1, 0.72),
    row("fix/chm", 1, 0.77),
    row("none", 2, 0.90),
    row("fix/0", 2, 0.88),
    row("fix/chm", 2, 0.95),
]


def test_means_and_paired_differences_of_hand_made_rows() -> None:
    summary = summarize(ROWS, "fd_tiny")
    lines = {line.method: line for line in summary.lines}
    assert list(lines) == ["none", "fix/0", "fix/chm"]
    assert (summary.seeds, summary.shots, summary.distance) == (3, 5, "fd_tiny")
    assert lines["none"].accuracy == estimate([0.80, 0.70, 0.90])
    assert lines["none"].gain is None
    assert lines["none"].distance is None
    assert lines["fix/0"].gain.mean == pytest.approx((-0.02 + 0.02 - 0.02) / 3)
    assert lines["fix/chm"].gain.mean == pytest.approx((0.05 + 0.07 + 0.05) / 3)
    assert lines["fix/chm"].gain.half == pytest.approx(estimate([0.05, 0.07, 0.05]).half)
    assert lines["fix/chm"].distance.mean == pytest.approx(11)
    assert (lines["none"].synthesis, lines["fix/0"].synthesis, lines["fix/0"].training) == (0, 4, 2)
    (pair,) = summary.pairs
    assert (pair.adjusted, pair.plain) == ("fix/chm", "fix/0")
    assert pair.change.mean == pytest.approx((0.07 + 0.05 + 0.07) / 3)
    assert pair.change.half == pytest.approx(estimate([0.07, 0.05, 0.07]).half)
    assert pair.change.clear


def test_inversion_is_counted_once_per_seed() -> None:
    """Only the first method of a seed inverts; the others find the latents there."""
    rows = [row("fix/0", 0, 0.5), row("fix/chm", 0, 0.5), row("fix/0", 1, 0.5), row("fix/chm", 1, 0.5)]
    rows[1]["seconds"]["invert"] = rows[3]["seconds"]["invert"] = 0.01
    assert summarize(rows, "fd_tiny").inversion == pytest.approx((1 + 2) / 2)


def test_order_of_the_rows_does_not_change_the_pairs() -> None:
    shuffled = [ROWS[n] for n in (8, 0, 4, 2, 6, 1, 5, 3, 7)]
    expected = {line.method: line.gain for line in summarize(ROWS, "fd_tiny").lines}
    found = {line.method: line.gain for line in summarize(shuffled, "fd_tiny").lines}
    assert found["fix/chm"].mean == pytest.approx(expected["fix/chm"].mean)
    assert found["fix/chm"].half == pytest.approx(expected["fix/chm"].half)


def test_only_common_seeds_are_paired() -> None:
    summary = summarize(ROWS[:-1], "fd_tiny")
    gain = {line.method: line.gain for line in summary.lines}["fix/chm"]
    assert gain.count == 2
    assert gain.mean == pytest.approx(0.06)


def test_without_a_baseline_there_are_no_gains() -> None:
    summary = summarize([r for r in ROWS if r["method"] != "none"], "fd_tiny")
    assert [line.gain for line in summary.lines] == [None, None]
    assert len(summary.pairs) == 1


def test_the_answer_names_the_best_and_counts_what_is_clear() -> None:
    answer = summarize(ROWS, "fd_tiny").answer
    assert answer.startswith("Best mean accuracy: fix/chm with 85.7 ±")
    assert "over 3 seeds" in answer
    assert "fix/chm +6.33 ±" in answer
    assert "intervals that exclude zero: 1 of 1" in answer


def test_one_seed_claims_nothing() -> None:
    summary = summarize(ROWS[:3], "fd_tiny")
    assert math.isnan(summary.pairs[0].change.half)
    assert "nan" not in summary.answer
    assert "intervals that exclude zero: 0 of 1" in summary.answer
    assert "cannot tell from no gain" in summary.answer


def test_numbers_as_people_read_them() -> None:
    sure, single = Estimate(0.8567, 0.0123, 5), Estimate(0.8567, math.nan, 1)
    assert (percent(sure), percent(single)) == ("85.7 ± 1.2", "85.7")
    assert (points(sure), points(Estimate(-0.01, math.nan, 1))) == ("+85.67 ± 1.23", "-1.00")
    assert (number(Estimate(12.345, 0.5, 3)), number(Estimate(12.345, math.nan, 1))) == ("12.35 ± 0.50", "12.35")
