"""What the three answers of an advice say, and that they say what they rest on."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from classify.advice.bench import Score
from classify.advice.confirmation import Confirmed
from classify.report.advice_answer import answer, grounds, in_words, more_images, price
from classify.report.verdict import Verdict, decide

NOISE = np.random.default_rng(0).normal(0, 0.02, (3, 10))


def found(unit: str = "device", **means: float) -> tuple[Any, Confirmed]:
    """Findings of ten fresh folds, and their scores: of each candidate the mean log-loss."""
    scores = {
        name: [
            Score(n, middle + NOISE[row, n], 1 - (middle + NOISE[row, n]) / 4, 1.0, 1800.0, unit, "set")
            for n in range(10)
        ]
        for row, (name, middle) in enumerate(means.items())
    }
    confirmed = Confirmed(scores, 0.25)
    outcomes = [SimpleNamespace(scores={0: None}, stopped=False) for _ in means]
    return SimpleNamespace(confirmed=confirmed, outcomes=outcomes, advisor=SimpleNamespace(most_shots=5)), confirmed


def test_a_recipe_is_told_with_its_gain_and_its_cost() -> None:
    findings, confirmed = found(none=1.0, sdedit=0.5, mixup=0.8)
    verdict = decide(confirmed, "sdedit", "mixup")
    said = answer(findings, verdict)
    assert said.startswith(
        "Use synthetic images by the recipe 'sdedit'. Against real images alone it should bring +12."
    )
    assert " ± " in said
    assert said.endswith("about 0.5 GPU-hours.")
    assert "'sdedit' by -0.2" in grounds(verdict) or "the winner 'sdedit' by -0.3" in grounds(verdict)


def test_a_policy_is_free() -> None:
    findings, confirmed = found(none=1.0, sdedit=0.7, mixup=0.7)
    said = answer(findings, decide(confirmed, "sdedit", "mixup"))
    assert said.startswith("Synthetic images bring no more than the classical policy 'mixup': use that, it is free.")


def test_what_could_not_be_seen_is_told_with_what_more_images_would_allow() -> None:
    findings, confirmed = found(none=1.0, sdedit=1.0)
    verdict = decide(confirmed, "sdedit", "none")
    said = answer(findings, verdict)
    assert said.startswith("With 5 images per class no difference below about ")
    assert said.endswith("points of accuracy could have been seen, and none was. Keep to real images alone.")
    assert "With twice as many images per class it would be about" in more_images(verdict)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            {"none": 1.0},
            "There was time for real images alone and for nothing to compare them with: give more --hours.",
        ),
        ({"none": 1.0, "mixup": 2.0}, "Of 2 candidates real images alone were the best in the search. Keep to real"),
    ],
)
def test_where_nothing_was_left_to_compare(names: dict[str, float], said: str) -> None:
    findings, _ = found(**names)
    nothing = Verdict("unseen", "none", "none", "none", {}, {}, None, float("nan"), 0)
    assert answer(findings, nothing).startswith(said)


def test_costs_without_an_accelerator_are_told_in_the_time_of_a_core() -> None:
    findings, _ = found("processor", none=1.0, sdedit=0.5)
    assert price(findings, "sdedit") == "about 30.0 minutes of one processor core"
    assert [in_words(n) for n in (7, 90, 5400)] == ["7 seconds", "1.5 minutes", "1.5 hours"]
