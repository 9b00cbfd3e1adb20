"""Bisection against roots that are known."""

import math

import pytest

from sounding.theory.root import bisect


def test_known_roots_in_both_directions_and_tiny():
    assert bisect(lambda x: x * x - 2, 1.0, 2.0) == pytest.approx(math.sqrt(2), rel=1e-13)
    assert bisect(lambda x: math.cos(x), 1.0, 2.0) == pytest.approx(math.pi / 2, rel=1e-13)
    assert bisect(lambda x: x - 3e-9, 1e-12, 1.0) == pytest.approx(3e-9, rel=1e-12)


def test_without_a_sign_change_it_says_so():
    with pytest.raises(ValueError, match="no sign change between 1 and 2"):
        bisect(lambda x: x, 1.0, 2.0)
