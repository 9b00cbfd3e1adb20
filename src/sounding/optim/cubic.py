"""Cubic-regularised Newton steps in a Krylov subspace."""

from __future__ import annotations

import math
from typing import Any

from sounding.optim.quadratic import cubic, krylov
from sounding.optim.running import Closure, Running, positive

GOOD, BAD = 0.9, 0.1  # fall / promised fall: from there the weight shrinks, or grows
TRIES = 40
LEAST = 1e-12  # of the weight
ROUNDING = 10  # times eps |loss|: promised falls below are rounding


class CubicNewton(Running):
    """x <- x + d, d the minimiser of g'd + d'Hd / 2 + weight/3 ||d||^3 over a Krylov subspace.

    The weight adapts to the fall that was promised and the one that came (Cartis, Gould & Toint
    2011, "Adaptive cubic regularisation methods", part I; Nesterov & Polyak 2006). The subspace is
    that of the gradient and a random vector, so that a step leads away from a saddle at which the
    gradient is zero (Carmon & Duchi 2018). Each step costs a gradient with its graph, `subspace`
    products at most, and one or a few losses. `finished`: ||g|| <= gradient_threshold and no
    curvature below -sqrt(2 weight gradient_threshold) was seen.

    >>> import torch
    >>> x = torch.zeros(2, requires_grad=True, dtype=torch.float64)
    >>> optimizer = CubicNewton([x])
    >>> for _ in range(30):
    ...     loss = optimizer.step(lambda: x[0] ** 2 - x[1] ** 2 + x[1] ** 4)
    >>> optimizer.finished, round(abs(x[1].item()), 6)
    (True, 0.707107)
    """

    def __init__(
        self,
        params: Any,
        *,
        weight: float = 1.0,
        gradient_threshold: float = 1e-5,
        subspace: int = 30,
        seed: int = 0,
    ) -> None:
        """A closure is needed in each step; all groups are one vector.

        Raises:
            ValueError: If a number is not positive.
        """
        positive(weight=weight, gradient_threshold=gradient_threshold, subspace=subspace)
        settings = {"gradient_threshold": gradient_threshold, "subspace": subspace}
        super().__init__(params, settings, seed, weight=weight)

    def step(self, closure: Closure | None = None) -> Any:  # type: ignore[override]
        """One step; `closure` returns the loss and does not call ``backward``.

        Returns:
            The loss before the step.

        Raises:
            ValueError: Without a closure, or if it has made the backward pass itself.
        """
        if closure is None:
            raise ValueError("CubicNewton.step needs a closure that returns the loss")
        if self.finished:
            return self.height(closure)
        loss, gradient, operator = self.curved(closure)
        seed = self.run["seed"] + self.run["steps"]
        model = krylov(operator, gradient, self.param_groups[0]["subspace"], seed=seed)
        self.count(steps=1, products=operator.products)
        threshold, weight = self.param_groups[0]["gradient_threshold"], self.run["weight"]
        least = -math.sqrt(2 * weight * threshold)
        if float(gradient.norm()) <= threshold and float(model.values[0]) >= least:
            self.record(finished=True)
            return loss
        x = self.here()
        for _ in range(TRIES):
            y = cubic(model, weight)
            promised = -model.change(y)
            self.put(x + model.step(y))
            ratio = (loss - self.height(closure)) / promised if promised > 0 else 0.0
            if ratio >= BAD:
                shrunk = weight / 2 if ratio >= GOOD else weight
                self.record(weight=max(shrunk, LEAST))
                return loss
            weight *= 3
        self.put(x)
        self.record(finished=True)  # nothing lowers the loss by more than its rounding
        return loss
