"""Perturbed gradient descent: noise only where the gradient is small (Jin et al. 2017)."""

from __future__ import annotations

import math
from typing import Any

import torch

from sounding.optim.running import Closure, Running, number, positive


def jin_constants(
    *,
    ell: float,
    rho: float,
    eps: float,
    size: int,
    fall: float,
    delta: float = 0.1,
    c: float = 1.0,
) -> dict[str, Any]:
    """What algorithm 2 of Jin et al. 2017 prescribes, as arguments of :class:`PerturbedSGD`.

    Args:
        ell: Lipschitz constant of the gradient.
        rho: Lipschitz constant of the Hessian.
        eps: Of the point wanted: ||g|| <= eps and smallest eigenvalue >= -sqrt(rho eps).
        size: Number of parameters, d.
        fall: At least f(start) - min f.
        delta: Probability of failure.
        c: The theorem's absolute constant; it holds for some small one.

    Example:
        >>> found = jin_constants(ell=1.0, rho=1.0, eps=0.01, size=10, fall=1.0)
        >>> found["lr"], found["interval"]
        (1.0, 415)
    """
    positive(ell=ell, rho=rho, eps=eps, size=size, fall=fall, delta=delta, c=c)
    chi = 3 * max(math.log(size * ell * fall / (c * eps**2 * delta)), 4)
    return {
        "lr": c / ell,
        "radius": math.sqrt(c) / chi**2 * eps / ell,
        "gradient_threshold": math.sqrt(c) / chi**2 * eps,
        "fall_threshold": c / chi**3 * math.sqrt(eps**3 / rho),
        "interval": math.ceil(chi / c**2 * ell / math.sqrt(rho * eps)),
    }


class PerturbedSGD(Running):
    """Gradient descent that adds noise from a ball where the gradient is small.

    Algorithm 2 of Jin, Ge, Netrapalli, Kakade & Jordan, "How to escape saddle points efficiently",
    ICML 2017: if ||g|| <= gradient_threshold and there was no noise in the last `interval` steps,
    the step adds a point of the ball of `radius` instead of following the gradient. With a
    `fall_threshold` and the loss (a closure that returns it), `interval` steps later the fall is
    looked at: if it is smaller, the point before the noise comes back, and the run is `finished`.

    `lr` and `radius` may differ between groups; the thresholds are of all parameters together. The
    theorem's numbers, from :meth:`theorem`, are small; the defaults are for nets whose loss and
    parameters are of order one. Draws from a generator of its own.

    >>> x = torch.zeros(2, requires_grad=True)
    >>> optimizer = PerturbedSGD([x], lr=0.1, radius=0.01)
    >>> for _ in range(60):
    ...     optimizer.zero_grad()
    ...     (x[0] ** 2 - x[1] ** 2 + x[1] ** 4).backward()
    ...     optimizer.step()
    >>> round(abs(x[1].item()), 3)
    0.707
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        *,
        radius: float = 1e-2,
        gradient_threshold: float = 1e-3,
        interval: int = 50,
        fall_threshold: float | None = None,
        seed: int = 0,
    ) -> None:
        """Plain descent between noises; see the class.

        Raises:
            ValueError: If a number is not positive.
        """
        positive(lr=lr, radius=radius, gradient_threshold=gradient_threshold, interval=interval)
        settings = {
            "lr": lr, "radius": radius, "gradient_threshold": gradient_threshold,
            "interval": interval, "fall_threshold": fall_threshold,
        }  # fmt: skip
        super().__init__(params, settings, seed, perturbed_at=None, before=None, loss_before=None)

    @classmethod
    def theorem(
        cls, params: Any, *, ell: float, rho: float, eps: float, fall: float, delta: float = 0.1,
        c: float = 1.0, seed: int = 0,
    ) -> PerturbedSGD:  # fmt: skip
        """With the constants of the theorem; arguments as of :func:`jin_constants`."""
        params = list(params)
        every = [p for g in params for p in (g["params"] if isinstance(g, dict) else [g])]
        size = sum(p.numel() for p in every if p.requires_grad)
        found = jin_constants(ell=ell, rho=rho, eps=eps, size=size, fall=fall, delta=delta, c=c)
        return cls(params, seed=seed, **found)

    def step(self, closure: Closure | None = None) -> Any:  # type: ignore[override]
        """One step from the gradients in ``.grad``; an ordinary closure is called first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.finished:
            return loss
        value = number(loss)
        group, at, since = self.param_groups[0], self.run["steps"], self.run["perturbed_at"]
        gradient, quiet = self.stored_gradient(), since is None or at - since > group["interval"]
        if since is not None and at - since == group["interval"] and self._gave_up(value):
            return loss
        if quiet and float(gradient.norm()) <= group["gradient_threshold"]:
            self._perturb(value)
        else:
            self.put(self.here() - self.per_parameter("lr") * gradient)
        self.count(steps=1, gradients=1)
        return loss

    def _perturb(self, value: float | None) -> None:
        x = self.here()
        xi = self.drawn(x)
        xi *= self.drawn_share() ** (1 / len(x)) / float(xi.norm())  # uniform in the unit ball
        keep = self.param_groups[0]["fall_threshold"] is not None
        self.record(perturbed_at=self.run["steps"], loss_before=value, before=x if keep else None)
        self.put(x + self.per_parameter("radius") * xi)

    def _gave_up(self, value: float | None) -> bool:
        """Whether the noise led nowhere; then the point before it comes back."""
        wanted, before = self.param_groups[0]["fall_threshold"], self.run["loss_before"]
        if wanted is None or before is None or value is None or before - value >= wanted:
            return False
        self.put(self.run["before"])
        self.record(finished=True)
        return True
