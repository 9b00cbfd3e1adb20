"""From any point to a stationary point nearby, of any index.

The norm of the gradient is minimised, by damped Gauss-Newton steps on g(x) = 0. That does not
descend on the loss: minima, saddles and maxima attract alike. What it can find besides is a point
with H g = 0 and g != 0, stationary for the gradient's norm alone; it says so.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from sounding.optim.quadratic import Quadratic, cubic, gauss_newton, krylov, whole
from sounding.optim.terrain import Terrain
from sounding.train import Progress

DENSE = 400  # parameters up to which the whole Hessian is formed
SUBSPACE = 60  # products of a step where it is not
ORIGIN = 1e-6  # norm below which the parameters' own norm says nothing about their scale
DAMPED, LEAST, MOST = 1.0, 1e-12, 1e12  # damping, relative to (||g|| / scale)^2
STALLED = 1e-9  # of ||g||^2: steps that win less go nowhere
CRAWL = 15  # steps in which the gradient's norm has to halve
DESCENT = 30  # steps down the loss, where it does not
ALIKE = 0.99  # cosine between steps that go on in one direction
CURVED = 0.1  # of the scale: how far around a point its typical curvature is looked at
ROUNDING = 10  # times the measured rounding of a gradient that counts as zero
SHORT = 1e-9  # of the scale: a displacement that shows rounding and nothing else
FAINT = 1e-6  # of the first gradient: from here on rounding may be what is left
LEAPS = 2  # descents at most, where the gradient's norm alone was stationary, or crawled


@dataclasses.dataclass
class Found:
    """Where a search ended."""

    x: torch.Tensor
    loss: float
    gradient: torch.Tensor
    model: Quadratic | None
    scale: float
    rounding: float  # of ||g||
    floor: float  # by how much rounding of the parameters themselves changes it
    steps: int
    stationary: bool
    alone: bool  # stationary for the gradient's norm alone
    moved: float  # distance from the start
    zero: float  # gradients up to that were to count as zero


def length_scale(x: torch.Tensor, moved: float) -> float:
    """Over which length the parameters matter: their norm, or how far the search has come.

    At the origin neither is known; 1 is taken there.
    """
    scale = max(float(x.norm()), moved)
    return scale if scale > ORIGIN else 1.0


def gradient_rounding(terrain: Terrain, x: torch.Tensor, gradient: torch.Tensor) -> float:
    """The rounding error of ||g|| at x, measured by a second difference over a tiny displacement.

    Along it the gradient is a straight line up to SHORT^2, so what is left is rounding (Moré &
    Wild 2011, "Estimating computational noise").
    """
    step = terrain.random(1, seed=7)[0]
    step *= max(SHORT, 10 * terrain.eps) * length_scale(x, 0.0) / step.norm()
    ahead, behind = terrain.slope(x + step)[1], terrain.slope(x - step)[1]
    return float((ahead - 2 * gradient + behind).norm()) / 6**0.5


def local_model(
    terrain: Terrain, x: torch.Tensor, gradient: torch.Tensor, *, dense: bool, seed: int | None
) -> Quadratic:
    """The second-order model at x, whole or on a Krylov subspace of the gradient."""
    if dense:
        return whole(terrain.dense(x), gradient)
    return krylov(terrain.operator(x), gradient, SUBSPACE, seed=seed)


class Search:
    """Damped Gauss-Newton steps until the gradient is zero, or its norm stationary."""

    def __init__(
        self, terrain: Terrain, x: torch.Tensor, *, tol: float, dense: bool, most: int,
        progress: Progress, zero: float = 0.0,
    ) -> None:  # fmt: skip
        """`tol` is relative: how far from a stationary point, in terms of the scale.

        Gradients up to `zero` count as zero anyway.
        """
        self.zero = zero
        self.terrain, self.start, self.tol, self.dense = terrain, x, tol, dense
        self.most, self.progress = most, progress
        self.x = x
        self.loss, self.gradient = terrain.slope(x)
        if not math.isfinite(self.loss) or not bool(torch.isfinite(self.gradient).all()):
            raise ValueError(
                f"the loss is {self.loss} and its gradient not finite at the point where the "
                "search begins; run sounding.checkup on it to see which call made it"
            )
        self.damping, self.steps = DAMPED, 0
        self.model: Quadratic | None = None
        self.rounding: float | None = None
        self.rounded_at = math.inf  # the gradient's norm where that was measured
        self.before: torch.Tensor | None = None  # the step before the last one
        self.last = torch.zeros_like(x)
        self.first, self.loss_at_start = float(self.gradient.norm()), self.loss

    @property
    def scale(self) -> float:
        """The length scale here."""
        return length_scale(self.x, float((self.x - self.start).norm()))

    def run(self, leaps: int = LEAPS) -> Found:
        """Search; descend for a while where only the gradient's norm became stationary."""
        alone = self._converge()
        for _ in range(leaps):
            if not alone or self.steps >= self.most or self.is_zero():
                break
            before = self.x, self.loss, self.gradient, self.model
            self._descend()
            alone = self._converge()
            if alone and float(self.gradient.norm()) > float(before[2].norm()):
                self.x, self.loss, self.gradient, self.model = before
        return self.found(alone)

    def found(self, alone: bool = False) -> Found:
        """What there is."""
        done = self.is_zero()
        if self.dense:
            self.model = self._model()
        return Found(
            self.x, self.loss, self.gradient, self.model, self.scale, self.rounding or 0.0,
            self.floor, self.steps, done, alone and not done,
            float((self.x - self.start).norm()), self.zero,
        )  # fmt: skip

    def is_zero(self) -> bool:
        """Whether the gradient counts as zero here."""
        norm = float(self.gradient.norm())
        if norm <= self.zero or norm <= self.tol * self._model().curvature * self.scale:
            return True
        return norm <= ROUNDING * self._rounding(norm)

    def _settled(self) -> bool:
        """Whether each of its components is zero, those along nearly flat directions too."""
        norm = float(self.gradient.norm())
        if norm == 0:
            return True
        model = self._model()
        near = self.tol * self.scale * np.abs(model.values)
        near = np.abs(model.slope) <= np.maximum(near, ROUNDING * self.floor)
        return bool(near.all()) or norm <= ROUNDING * self._rounding(norm)

    @property
    def floor(self) -> float:
        """By how much rounding of the parameters themselves changes the gradient."""
        return self.terrain.eps * self._model().curvature * self.scale

    def _rounding(self, norm: float) -> float:
        """Of ||g||; 0 where that is far above any rounding."""
        if self.steps and norm > FAINT * self.first:
            return 0.0
        if self.rounding is None or norm < FAINT**0.5 * self.rounded_at:
            self.rounding = gradient_rounding(self.terrain, self.x, self.gradient)
            self.rounded_at = norm
        return self.rounding

    def _model(self) -> Quadratic:
        if self.model is None:
            self.model = local_model(
                self.terrain, self.x, self.gradient, dense=self.dense, seed=None
            )
        return self.model

    def _converge(self) -> bool:
        """Steps until the gradient is zero (False), or its norm does not fall any more (True)."""
        norms = [float(self.gradient.norm())]
        while self.steps < self.most and not self._settled():
            if not self._step():
                return True
            self._leap()
            norms.append(float(self.gradient.norm()))
            if len(norms) > CRAWL and norms[-1] > norms[-1 - CRAWL] / 2:
                return True
        return False

    def _step(self) -> bool:
        """One step; False where the gradient's norm is stationary."""
        model, norm = self._model(), float(self.gradient.norm())
        self.progress(f"gradient {norm:.1e}", self.steps, self.most)
        while self.damping <= MOST:
            y = gauss_newton(model, self.damping * (norm / self.scale) ** 2)
            predicted = norm**2 - model.residual(y) ** 2
            if predicted <= STALLED * norm**2:
                break
            step = model.step(y)
            loss, gradient = self.terrain.slope(self.x + step)
            fall = norm**2 - float(gradient.norm()) ** 2
            if math.isfinite(fall) and fall > 1e-4 * predicted:
                self.damping = max(LEAST, self.damping / (8 if fall > 0.75 * predicted else 2))
                self._accept(step, loss, gradient)
                return fall > STALLED * norm**2
            self.damping *= 4
        self.damping = DAMPED
        return False

    def _leap(self) -> None:
        """Go where steps that shrink by the same factor would end, if that is better.

        To a point where the Hessian is singular Newton's steps lead by a constant factor only.
        """
        if self.before is None:
            return
        last, step = float(self.before.norm()), float(self.last.norm())
        alike = float(self.before @ self.last) > ALIKE * last * step
        if not alike or not 0.2 * last < step < 0.95 * last:
            return
        jump = self.last * (step / (last - step))
        loss, gradient = self.terrain.slope(self.x + jump)
        if float(gradient.norm()) < 0.5 * float(self.gradient.norm()):
            self._accept(jump, loss, gradient)
            self.before = None

    def _descend(self) -> None:
        """Cubic-regularised Newton steps down the loss, until the gradient's norm has halved."""
        goal = float(self.gradient.norm()) / 2
        for _ in range(DESCENT):
            norm = float(self.gradient.norm())
            seed = None if self.dense else self.steps
            model = local_model(self.terrain, self.x, self.gradient, dense=self.dense, seed=seed)
            weight = max(model.curvature, norm / self.scale) / self.scale
            for _ in range(20):
                step = model.step(cubic(model, weight))
                loss, gradient = self.terrain.slope(self.x + step)
                if loss < self.loss:
                    break
                weight *= 4
            else:
                return
            self._accept(step, loss, gradient)
            if float(gradient.norm()) < goal:
                return

    def _accept(self, step: torch.Tensor, loss: float, gradient: torch.Tensor) -> None:
        self.x, self.loss, self.gradient, self.model = self.x + step, loss, gradient, None
        self.before, self.last = self.last, step
        self.steps += 1
