"""Three points on which nearly every activation has a bad minimum, and the same for rectifiers.

Yun, Sra and Jadbabaie, "Small Nonlinearities in Activation Functions Create Bad Local Minima in
Neural Networks", ICLR 2019. The bad minima are degenerate: their Hessians have large kernels, and
no test of positive definiteness finds them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sounding.objective import Batch
from sounding.problems.known import DEGENERATE, Known, from_spectrum
from sounding.problems.problem import Problem


@dataclasses.dataclass(frozen=True)
class _Activation:
    function: Callable[[torch.Tensor], torch.Tensor]
    start: tuple[float, float, float]  # v_1, v_2, u_1 of the bad minimum


_ACTIVATIONS = {
    "sigmoid": _Activation(torch.sigmoid, (-3, -2.75, 1.25)),
    "tanh": _Activation(torch.tanh, (-2.25, -0.25, 0.75)),
    "arctan": _Activation(torch.atan, (-0.25, -1, -1.75)),
    "elu": _Activation(functional.elu, (-2.25, 0.25, 0.5)),
    "selu": _Activation(functional.selu, (1.75, -2.5, 0.5)),
}
ACTIVATIONS = tuple(_ACTIVATIONS)
_FIT = (1.5, -1.0, 0.5)  # v_1, v_2, v_3 of a point of risk zero, for which v_4 exists


class _TwoLayers(Problem):
    """1/2 sum_i (W2 h(W1 x_i + b1) + b2 - y_i)^2 for one output."""

    W1: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor

    def __init__(self, x: np.ndarray, y: np.ndarray, width: int) -> None:
        inputs = x.shape[1]
        shapes = {"W1": (width, inputs), "b1": (width,), "W2": (1, width), "b2": (1,)}
        super().__init__({name: np.zeros(shape) for name, shape in shapes.items()})
        self.register_buffer("x", torch.tensor(x))
        self.register_buffer("y", torch.tensor(y))

    def activation(self, z: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of W1 (..., k, d), b1 (..., k), W2 (..., 1, k), b2 (..., 1)."""
        w1, b1, w2, b2 = parameters
        x, y = (self.x, self.y) if batch is None else batch
        hidden = self.activation(x @ w1.mT + b1[..., None, :])
        return ((hidden @ w2.mT)[..., 0] + b2 - y).square().sum(-1) / 2

    def _known(self, name: str, point: np.ndarray, value: float) -> Known:
        """A minimum, with the spectrum that its dense Hessian has."""
        eigenvalues = torch.linalg.eigvalsh(self.hessians(point)[0]).cpu()
        return from_spectrum(name, point, value, eigenvalues, minimum=0.0, flat=DEGENERATE)


class ThreePoints(_TwoLayers):
    """x = (1, 0), (0, 1), (1/2, 1/2) with labels 0, 0, 1, and two hidden units (Theorem 2).

    A linear function can do no better than the risk 1/3, and there is a minimum with that risk,
    while zero can be reached.
    """

    minimum = 0.0

    def __init__(self, activation: str = "tanh") -> None:
        """`activation` is one of ``ACTIVATIONS``.

        Raises:
            ValueError: If it is not.
        """
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; there are {', '.join(ACTIVATIONS)}")
        self._chosen = _ACTIVATIONS[activation]
        super().__init__(
            np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]), np.array([0.0, 0.0, 1.0]), 2
        )
        self.name = activation

    def activation(self, z: torch.Tensor) -> torch.Tensor:
        """The activation, of any shape."""
        return self._chosen.function(z)

    def critical_points(self) -> tuple[Known, ...]:
        """The bad minimum (kernel of dimension 6 of 9), and a point of risk zero."""
        return (
            self._known("bad minimum", self._bad(), 1 / 3),
            self._known("fits all", self._fit(), 0.0),
        )

    def conditions(self) -> tuple[float, float, float]:
        """(A_1, A_2, A_1 A_2 - (u_1 h'(v_1) u_2 h'(v_2))^2) of the bad minimum.

        All three positive make it a minimum, A_j being (u_j h'(v_j))^2 + u_j h''(v_j) / 3.
        """
        point = torch.from_numpy(self._bad())
        v = point[4:6].requires_grad_()
        first = torch.autograd.grad(self.activation(v).sum(), v, create_graph=True)[0]
        second = torch.autograd.grad(first.sum(), v)[0]
        u, slope = point[6:8], first.detach()
        a = ((u * slope) ** 2 + u * second / 3).tolist()
        return a[0], a[1], a[0] * a[1] - float((u * slope).prod() ** 2)

    def _scalar(self, z: float) -> float:
        return float(self.activation(torch.tensor(z, dtype=torch.float64)))

    def _bad(self) -> np.ndarray:
        """W1 = 0, b1 = v, W2 = u, b2 = 0 with u_1 h(v_1) + u_2 h(v_2) = 1/3 to full precision."""
        v1, v2, u1 = self._chosen.start
        u2 = (1 / 3 - u1 * self._scalar(v1)) / self._scalar(v2)
        return np.array([0, 0, 0, 0, v1, v2, u1, u2, 0.0])

    def _fit(self) -> np.ndarray:
        """Units whose outputs at the first two points are proportional, and cancel.

        W1 = [[v_1, v_2], [v_3, v_4]] with h(v_1) h(v_4) = h(v_2) h(v_3), b1 = 0, and W2
        proportional to (h(v_3), -h(v_1)).
        """
        v1, v2, v3 = _FIT
        h = self._scalar
        v4 = _root(lambda v: h(v1) * h(v) - h(v2) * h(v3), -30.0, 30.0)
        third = h(v3) * h((v1 + v2) / 2) - h(v1) * h((v3 + v4) / 2)
        return np.array([v1, v2, v3, v4, 0, 0, h(v3) / third, -h(v1) / third, 0.0])


class SlightRectifier(_TwoLayers):
    """Any data and h = max(z, 0) s_+ + min(z, 0) s_-, however near the slopes (Theorem 1).

    Wherever a line does not fit the data there is a minimum with the risk of the best line: all
    units work on their linear side. A point that is better by an amount proportional to s_+ - s_-
    is known too. The Hessian says nothing of kinks; at the minimum no unit is at its kink.
    """

    def __init__(
        self, x: Any, y: Any, width: int = 4, *, slopes: tuple[float, float] = (1.0, 0.0)
    ) -> None:
        """`x` is (N, d), `y` is (N,); `slopes` are (s_+, s_-), s_+ positive, s_- not negative.

        Raises:
            ValueError: If the slopes do not fit, or the width is below 2.
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if slopes[0] <= 0 or slopes[1] < 0 or slopes[0] == slopes[1]:
            raise ValueError(f"slopes are {slopes}; the first must be positive, and they differ")
        if width < 2:
            raise ValueError(f"width is {width}; the construction needs two units at least")
        self.slopes = slopes
        super().__init__(x, y, width)
        line = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
        self._line = line
        self.fitted = x @ line[:-1] + line[-1]  # (N,) the line's outputs
        self.line_risk = float(((self.fitted - y) ** 2).sum() / 2)

    @classmethod
    def random(
        cls, n: int = 12, d: int = 3, *, slopes: tuple[float, float] = (1.0, 0.0), seed: int = 0
    ) -> SlightRectifier:
        """Standard normal inputs and labels."""
        rng = np.random.default_rng(seed)
        return cls(rng.standard_normal((n, d)), rng.standard_normal(n), slopes=slopes)

    def activation(self, z: torch.Tensor) -> torch.Tensor:
        """The rectifier, of any shape."""
        return self.slopes[0] * z.clamp(min=0) + self.slopes[1] * z.clamp(max=0)

    def critical_points(self) -> tuple[Known, ...]:
        """The bad minimum, a point of it far from all kinks."""
        known = self._known("best line", self._bad(), self.line_risk)
        return (dataclasses.replace(known, best=False),)

    def _bad(self) -> np.ndarray:
        """All units on their positive side; the first carries the line."""
        width, inputs = self.W1.shape
        down = min(-1.0, 2 * float(self.fitted.min()))  # eta, below every output
        w1, b1 = np.zeros((width, inputs)), np.full(width, -down)
        w1[0], b1[0] = self._line[:-1], self._line[-1] - down
        w2 = np.zeros(width)
        w2[0] = 1 / self.slopes[0]
        return np.concatenate([w1.reshape(-1), b1, w2, [down]])

    def better(self) -> np.ndarray:
        """(n,) a point with a smaller loss: a line with a bend of height gamma.

        The sum of two opposed units is (z + c gamma) on one side of the bend beta and (z - c gamma)
        on the other, c = (s_+ - s_-) / (s_+ + s_-). The best gamma for each place of the bend has a
        closed form, up to the nearest output; the best place is taken.
        """
        found = [self._bent(beta, gap) for beta, gap in self._places()]
        losses = self.losses(np.array(found)).detach().cpu().numpy()
        return found[int(losses.argmin())]

    def _places(self) -> list[tuple[float, float]]:
        """Midpoints between adjacent outputs of the line, with half the distance of the two."""
        outputs = np.unique(self.fitted)
        return [((a + b) / 2, (b - a) / 2) for a, b in itertools.pairwise(outputs)]

    def _bent(self, beta: float, gap: float) -> np.ndarray:
        width, inputs = self.W1.shape
        up, down = self.slopes
        side = np.sign(self.fitted - beta)
        residual = self.y.cpu().numpy() - self.fitted
        bend = (up - down) / (up + down) * side  # change of the outputs for gamma = 1
        gamma = float(np.clip(bend @ residual / (bend @ bend), -gap, gap))
        w1, b1, w2 = np.zeros((width, inputs)), np.zeros(width), np.zeros(width)
        w1[0], w1[1] = self._line[:-1], -self._line[:-1]
        b1[0], b1[1] = self._line[-1] - beta + gamma, -self._line[-1] + beta + gamma
        w2[0], w2[1] = 1 / (up + down), -1 / (up + down)
        return np.concatenate([w1.reshape(-1), b1, w2, [beta]])


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """A zero of an increasing or decreasing function, by bisection to the last digit."""
    rising = function(high) > 0
    while True:
        middle = (low + high) / 2
        if middle in (low, high) or not math.isfinite(middle):
            return middle
        low, high = (low, middle) if (function(middle) > 0) == rising else (middle, high)
