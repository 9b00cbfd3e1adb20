"""Gradient steps, and steps along negative curvature where the gradient is small."""

from __future__ import annotations

from typing import Any

import torch

from sounding.curvature.eigenpairs import negative_curvature
from sounding.optim.running import Closure, Running, positive

ARMIJO = 1e-4  # of the fall that the slope promises
TRIES = 40  # of a line search: a factor 2^40
LONGEST = 30  # doublings along a direction of negative curvature


class NegativeCurvature(Running):
    """Descent by gradients with a line search; at small gradients along v with v'Hv < 0.

    The direction comes from Lanczos steps that stop at the first proof of negative curvature (6 to
    15 products on most nets), and is followed with its sign down the slope, doubling the way for as
    long as the loss falls. Where the gradient is small and no direction curves downwards, the run
    is `finished`: the point is second-order stationary, with probability 1 - 1e-3 over the random
    start. (After McCormick 1977 and Royer & Wright 2018.)

    >>> x = torch.zeros(2, requires_grad=True)
    >>> optimizer = NegativeCurvature([x])
    >>> for _ in range(30):
    ...     loss = optimizer.step(lambda: x[0] ** 2 - x[1] ** 2 + x[1] ** 4)
    >>> optimizer.finished, round(abs(x[1].item()), 3)
    (True, 0.707)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.1,
        *,
        gradient_threshold: float = 1e-3,
        curvature_threshold: float | None = None,
        length: float = 1e-2,
        most: int = 200,
        seed: int = 0,
    ) -> None:
        """A closure is needed in each step.

        Args:
            params: Parameters or groups; groups may have an `lr` of their own.
            lr: First length of gradient steps; the line search doubles and halves it.
            gradient_threshold: Below it curvature is looked at.
            curvature_threshold: Weaker curvature downwards is not followed; by default the square
                root of `gradient_threshold`, the (eps, sqrt(rho eps)) of theory with rho = 1.
            length: First way along a direction of negative curvature.
            most: Products at most of one look.
            seed: Of the random starts.

        Raises:
            ValueError: If a number is not positive.
        """
        positive(lr=lr, gradient_threshold=gradient_threshold, length=length, most=most)
        if curvature_threshold is None:
            curvature_threshold = gradient_threshold**0.5
        settings = {
            "lr": lr, "gradient_threshold": gradient_threshold, "length": length, "most": most,
            "curvature_threshold": curvature_threshold,
        }  # fmt: skip
        super().__init__(params, settings, seed, factor=1.0, looks=0)

    def step(self, closure: Closure | None = None) -> Any:  # type: ignore[override]
        """One step; `closure` returns the loss and does not call ``backward``.

        Returns:
            The loss before the step.

        Raises:
            ValueError: Without a closure, or if it has made the backward pass itself.
        """
        if closure is None:
            raise ValueError("NegativeCurvature.step needs a closure that returns the loss")
        loss, gradient = self.slope(closure)
        if self.finished:
            return loss
        small = float(gradient.norm()) <= self.param_groups[0]["gradient_threshold"]
        if small:
            self._along_curvature(closure)
        else:
            self._along_gradient(closure, loss, gradient)
        self.count(steps=1)
        return loss

    def _along_gradient(self, closure: Closure, loss: float, gradient: torch.Tensor) -> None:
        x, along = self.here(), -self.per_parameter("lr") * gradient
        slope, factor = float(along @ gradient), 2 * self.run["factor"]
        for _ in range(TRIES):
            self.put(x + factor * along)
            if self.height(closure) <= loss + ARMIJO * factor * slope:
                self.record(factor=factor)
                return
            factor /= 2
        self.put(x)  # the loss does not fall by more than its rounding
        self._along_curvature(closure)

    def _along_curvature(self, closure: Closure) -> None:
        loss, gradient, operator = self.curved(closure)
        looks = self.run["looks"]
        found = negative_curvature(
            operator + self.param_groups[0]["curvature_threshold"],
            most=self.param_groups[0]["most"],
            seed=self.run["seed"] + looks,
        )
        self.count(products=operator.products)
        self.record(looks=looks + 1)
        if found.which != "negative" or found.vectors is None:
            self.record(finished=True)
            return
        direction = found.vectors[0]
        if float(direction @ gradient) > 0:
            direction = -direction
        self._follow(closure, loss, direction)

    def _follow(self, closure: Closure, loss: float, direction: torch.Tensor) -> None:
        """As far as the loss falls, in ways that double; shorter ones first where it does not."""
        x, length = self.here(), self.param_groups[0]["length"]

        def at(way: float) -> float:
            self.put(x + way * direction)
            return self.height(closure)

        lowest, best = loss, 0.0
        for _ in range(TRIES):
            if (height := at(length)) < lowest:
                lowest, best = height, length
                break
            length /= 2
        for _ in range(LONGEST if best else 0):
            if not (height := at(2 * best)) < lowest:
                break
            lowest, best = height, 2 * best
        self.put(x + best * direction)
        if not best:
            self.record(finished=True)
