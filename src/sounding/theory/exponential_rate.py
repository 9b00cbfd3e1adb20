"""Weight decay at one learning rate is no weight decay at a growing one, for normalised nets.

Li and Arora, "An Exponential Learning Rate Schedule for Deep Learning", ICLR 2020. Where the loss
does not change with the size of the weights, grad(c w) = grad(w) / c, and two runs of SGD with
momentum make the same functions if the weights of the second are c_t times those of the first at
every step t. In the convention v <- momentum v + grad + decay w, w <- w - rate v, and T steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shrinkage(rate: float, decay: float, momentum: float = 0.0) -> float:
    """The alpha for which c_t = alpha^-t: the larger root of x^2 - (1 + m - rate decay) x + m = 0.

    Then the second run has no decay, the rate `rate alpha^(-2t - 1)` at step t, and starts with the
    momentum of :func:`first_velocity`. Its rate grows by alpha^-2 a step, which is close to
    1 + 2 rate decay / (1 - momentum).

    Raises:
        ValueError: If rate x decay is above (1 - sqrt(momentum))^2: there is no real root.
    """
    middle = 1 + momentum - rate * decay
    under = middle**2 - 4 * momentum
    if under < 0:
        raise ValueError(
            f"rate x decay is {rate * decay:.3g}; with momentum {momentum:g} an equivalent rate "
            f"exists up to {(1 - math.sqrt(momentum)) ** 2:.3g}"
        )
    return (middle + math.sqrt(under)) / 2


def first_velocity(rate: float, alpha: float) -> float:
    """The velocity v, in multiples of the first weights, that the second run starts with."""
    return -(1 - alpha) / (alpha * rate)


class Equivalent(NamedTuple):
    """A run without weight decay that makes the same functions as one with it."""

    rates: NDArray[np.float64]  # (T,)
    factors: NDArray[np.float64]  # (T + 1,) c_t: its weights in multiples of the other's, from 1


def equivalent_rates(rates: ArrayLike, decay: float, momentum: float = 0.0) -> Equivalent:
    """The rates, step by step, that replace any schedule `rates` (T,) with a decay; exact.

    Both runs start with no velocity. Put w' = c w into the two recurrences, with q_t the ratio of
    the rate to the one before: the terms in the gradient give rate'_t = rate_t c_t c_(t+1), and
    those in w give c_(t+1) = c_t / (1 - rate_t decay + momentum q_t (1 - c_t / c_(t-1))), with
    c_(-1) = c_0 = 1. At a constant rate the growth settles at 1 / alpha within 1 / (1 - momentum)
    steps; where the rate drops, the formula holds as it is.

    Raises:
        ValueError: If some rate is too large for a positive factor to exist.
    """
    given = np.asarray(rates, float)
    before, now = 1.0, 1.0
    factors = [now]
    for step, rate in enumerate(given):
        ratio = rate / given[step - 1] if step else 1.0
        share = 1 - rate * decay + momentum * ratio * (1 - now / before)
        if share <= 0:
            raise ValueError(
                f"at step {step} rate x decay is {rate * decay:.3g}, which is too much"
            )
        before, now = now, now / share
        factors.append(now)
    c = np.array(factors)
    return Equivalent(given * c[:-1] * c[1:], c)
