"""Which answer follows from which scores on fresh folds."""

import math

import numpy as np
import pytest

from classify.advice.bench import Score
from classify.advice.confirmation import Confirmed
from classify.report.power import detectable
from classify.report.verdict import decide

NOISE = np.random.default_rng(0).normal(0, 0.02, (3, 10))


def confirmed(**means: float) -> Confirmed:
    """Scores on ten folds: the mean log-loss of each candidate, its accuracy falling with it."""
    scores = {}
    for row, (name, middle) in enumerate(means.items()):
        losses = middle + NOISE[row]
        scores[name] = [
            Score(n, float(x), 1 - float(x) / 4, 1.0, None, "processor", None) for n, x in enumerate(losses)
        ]
    return Confirmed(scores, 0.25)


def test_synthetic_images_are_recommended_where_they_beat_both() -> None:
    found = decide(confirmed(none=1.0, sdedit=0.5, mixup=0.8), "sdedit", "mixup")
    assert (found.kind, found.recommended) == ("recipe", "sdedit")
    assert found.accuracy["sdedit"].change.mean == pytest.approx(0.125, abs=0.01)
    assert found.versus is not None
    assert found.versus.change.mean == pytest.approx(-0.3, abs=0.03)


def test_a_policy_is_recommended_where_synthetic_images_do_no_more() -> None:
    found = decide(confirmed(none=1.0, sdedit=0.7, mixup=0.7), "sdedit", "mixup")
    assert (found.kind, found.recommended) == ("policy", "mixup")
    assert decide(confirmed(none=1.0, mixup=0.7), "mixup", "mixup").kind == "policy"


def test_synthetic_images_that_alone_are_shown_to_help_are_recommended() -> None:
    assert decide(confirmed(none=1.0, sdedit=0.9, mixup=0.99), "sdedit", "mixup").kind == "recipe"
    assert decide(confirmed(none=1.0, sdedit=0.9), "sdedit", "none").kind == "recipe"


def test_nothing_is_recommended_that_was_not_shown() -> None:
    found = decide(confirmed(none=1.0, sdedit=1.0, mixup=1.0), "sdedit", "mixup")
    assert (found.kind, found.recommended) == ("unseen", "mixup")
    assert decide(confirmed(none=0.5, sdedit=1.0), "sdedit", "none").recommended == "none"


def test_the_smallest_effect_counts_that_folds_overlap() -> None:
    found = decide(confirmed(none=1.0, sdedit=1.0), "sdedit", "none")
    deviation = float(np.std((NOISE[1] - NOISE[0]) / 4, ddof=1))
    # As much as J independent folds whose mean is uncertain by √(1/J + n2/n1) s in place of √(1/J) s.
    wider = math.sqrt((1 / 10 + 0.25) / (1 / 10))
    assert found.visible == pytest.approx(detectable(deviation, 10, 1) * wider)


def test_without_rivals_real_images_alone_are_the_answer() -> None:
    found = decide(confirmed(none=1.0), "none", "none")
    assert (found.kind, found.recommended, found.accuracy) == ("unseen", "none", {})
    assert math.isnan(found.visible)
