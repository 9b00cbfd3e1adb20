"""Noisy gradient descent: noise of a fixed length at every step (Ge, Huang, Jin & Yuan 2015)."""

from __future__ import annotations

from typing import Any

import torch

from sounding.optim.running import Closure, Running, positive


class NoisySGD(Running):
    """x <- x - lr (g + noise * xi), xi uniform on the unit sphere of all parameters.

    Algorithm 1 of Ge, Huang, Jin & Yuan, "Escaping from saddle points: online stochastic gradient
    for tensor decomposition", COLT 2015. It stays within about sqrt(lr) of a minimum; let `lr`
    shrink to come nearer. Draws from a generator of its own.

    >>> x = torch.zeros(2, requires_grad=True)
    >>> optimizer = NoisySGD([x], lr=0.1)
    >>> (x[0] ** 2 - x[1] ** 2).backward()
    >>> optimizer.step()
    >>> round(float(x.detach().norm()), 6)
    0.1
    """

    def __init__(self, params: Any, lr: float = 1e-2, *, noise: float = 1.0, seed: int = 0) -> None:
        """`noise` is the length of the noise beside the gradient.

        Raises:
            ValueError: If a number is not positive.
        """
        positive(lr=lr, noise=noise)
        super().__init__(params, {"lr": lr, "noise": noise}, seed)

    def step(self, closure: Closure | None = None) -> Any:  # type: ignore[override]
        """One step from the gradients in ``.grad``; an ordinary closure is called first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradient = self.stored_gradient()
        xi = self.drawn(gradient)
        xi /= xi.norm()
        along = gradient + self.per_parameter("noise") * xi
        self.put(self.here() - self.per_parameter("lr") * along)
        self.count(steps=1, gradients=1)
        return loss
