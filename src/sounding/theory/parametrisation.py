"""Maximal update parametrisation: what scales how with the width, so that a rate carries over.

Yang, Hu et al., "Tensor Programs V: Tuning large neural networks via zero-shot hyperparameter
transfer", 2022, table 3. At the base width it is the ordinary parametrisation.
"""

from __future__ import annotations

from typing import NamedTuple

ROLES = ("input", "hidden", "output")
OPTIMISERS = ("adam", "sgd")


class Scaling(NamedTuple):
    """Factors of a layer in a net that is wider than the base net."""

    variance: float  # on the variance 1 / fan_in of its weights
    lr: float  # on the learning rate of its weights
    bias_lr: float  # on that of its biases


def maximal_update(role: str, ratio: float, *, optimiser: str = "adam") -> Scaling:
    """How a layer is scaled in a net `ratio` times as wide as the base net.

    Args:
        role: 'input' if only the layer's outputs grow with the width, 'output' if only its inputs
            do, 'hidden' if both do.
        ratio: Width over base width.
        optimiser: 'adam', for all that divide a step by the gradient's size, or 'sgd'.

    Raises:
        ValueError: If the role or the optimiser is unknown, or the ratio not positive.

    Example:
        >>> maximal_update("hidden", 4)
        Scaling(variance=1.0, lr=0.25, bias_lr=1.0)
    """
    if role not in ROLES or optimiser not in OPTIMISERS:
        raise ValueError(
            f"{role!r} and {optimiser!r}: a role is one of {', '.join(ROLES)}, an optimiser "
            f"one of {', '.join(OPTIMISERS)}"
        )
    if not ratio > 0:
        raise ValueError(f"ratio is {ratio!r}; give the width over the base width")
    variance = 1 / ratio if role == "output" else 1.0
    if optimiser == "adam":
        return Scaling(variance, 1.0 if role == "input" else 1 / ratio, 1.0)
    rate = {"input": ratio, "hidden": 1.0, "output": 1 / ratio}[role]
    return Scaling(variance, float(rate), 1.0 if role == "output" else float(ratio))
