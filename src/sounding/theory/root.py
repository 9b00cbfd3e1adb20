"""One root of a function of one variable, by halving the interval of its sign change."""

from __future__ import annotations

import math
from collections.abc import Callable


def bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """A point of [low, high], both positive, where `function` changes sign.

    Halves on the log scale, so that tiny roots keep their digits; relative error 1e-14, about
    50 evaluations.

    Raises:
        ValueError: If the function has the same sign at both ends.
    """
    rising = function(low) < 0
    if rising == (function(high) < 0):
        raise ValueError(f"no sign change between {low:g} and {high:g}")
    while high > low * (1 + 1e-14):
        middle = math.sqrt(low * high)
        if not low < middle < high:
            break
        if (function(middle) < 0) == rising:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)
