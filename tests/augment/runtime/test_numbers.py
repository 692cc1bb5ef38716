"""Numbers with an end: what they take, and that another process can read one."""

import pickle
import subprocess
import sys
from math import inf, nan
from typing import Any

import pytest

from augment.errors import UserError
from augment.mix.registry import configure
from augment.runtime import numbers


@pytest.mark.parametrize("value", [inf, -inf, nan, -1.0])
@pytest.mark.parametrize("kind", [numbers.PositiveNumber, numbers.NonNegativeNumber])
def test_only_finite_numbers(kind: Any, value: float) -> None:
    with pytest.raises(ValueError, match="does not conform to restriction"):
        kind(value)


def test_zero_is_not_positive() -> None:
    assert numbers.NonNegativeNumber(0) == 0
    with pytest.raises(ValueError, match="does not conform to restriction"):
        numbers.PositiveNumber(0)


def test_a_method_refuses_an_infinite_setting() -> None:
    with pytest.raises(UserError, match=r"gamma.*inf"):
        configure("diff-mix", {"gamma": inf})


def test_a_fresh_process_can_unpickle_one() -> None:
    content = pickle.dumps(numbers.PositiveNumber(2.5))
    code = f"import pickle; print(pickle.loads({content!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2.5\n"
