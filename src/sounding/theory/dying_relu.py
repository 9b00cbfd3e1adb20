"""The probability that a deep ReLU net is dead from the start."""

from __future__ import annotations

import math
from collections.abc import Iterable


def born_dead(widths: Iterable[int]) -> float:
    """Probability that some ReLU layer is all zero at one given input.

    Formula: 1 - prod_l (1 - 2^(-N_l)), for symmetric weights without bias; an upper bound for
    "dead at every input". Lu, Shin, Su & Karniadakis, "Dying ReLU and Initialization", Commun.
    Comput. Phys. 28 (2020); Rister & Rubin (2020) show that it is tight at one input.

    Args:
        widths: Units of each ReLU layer, N_l.

    Example:
        >>> round(born_dead([3] * 10), 4)
        0.7369
    """
    return -math.expm1(sum(math.log1p(-(2.0**-width)) for width in widths))
