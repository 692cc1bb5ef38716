"""Test images come out of a sealed source while it is open, and at no other time."""

import numpy as np
import pytest

from augment.images.sources import Digits, Item
from classify.train.sealed_source import Sealed

CLOSED = "the test images are sealed until the final test"


@pytest.fixture
def digits() -> Digits:
    return Digits()


def assert_closed(sealed: Sealed, item: Item) -> None:
    with pytest.raises(RuntimeError, match=f"^{CLOSED}$"):
        _ = sealed.test
    with pytest.raises(RuntimeError, match=CLOSED):
        sealed.content(item)
    with pytest.raises(RuntimeError, match=CLOSED):
        sealed.image(item)
    with pytest.raises(RuntimeError, match=CLOSED):
        sealed.sha256(item)


def assert_open(sealed: Sealed, digits: Digits) -> None:
    item = digits.test[3]
    assert sealed.test == digits.test
    assert sealed.content(item) == digits.content(item)
    assert sealed.sha256(item) == digits.sha256(item)
    assert np.array_equal(np.asarray(sealed.image(item)), np.asarray(digits.image(item)))


def test_a_new_source_is_closed_and_opens_for_a_block(digits: Digits) -> None:
    sealed, item = Sealed(digits), digits.test[3]
    assert_closed(sealed, item)
    for _ in range(2):
        with sealed.opened():
            assert_open(sealed, digits)
        assert_closed(sealed, item)


def test_an_error_closes_it_too(digits: Digits) -> None:
    sealed = Sealed(digits)
    with pytest.raises(ValueError, match="in the middle"), sealed.opened():
        raise ValueError("in the middle")
    assert_closed(sealed, digits.test[3])


def test_what_may_be_trained_on_is_always_there(digits: Digits) -> None:
    sealed, item = Sealed(digits), digits.pool[3]
    assert (sealed.classes, sealed.pool) == (digits.classes, digits.pool)
    assert sealed.content(item) == digits.content(item)
    assert np.array_equal(np.asarray(sealed.image(item)), np.asarray(digits.image(item)))


def test_seals_are_each_their_own(digits: Digits) -> None:
    one, other = Sealed(digits), Sealed(digits)
    with one.opened():
        assert_open(one, digits)
        assert_closed(other, digits.test[3])
