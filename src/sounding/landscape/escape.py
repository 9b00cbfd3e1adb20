"""Leave a saddle point and go on to a point with a certificate that it is none."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.curvature.eigenpairs import extremes
from sounding.landscape.stationary import certified
from sounding.landscape.stationary_point import StationaryPoint, load_parameters, named
from sounding.landscape.stationary_search import length_scale
from sounding.objective import Loss, Objective
from sounding.optim import CubicNewton, NegativeCurvature, NoisySGD, PerturbedSGD
from sounding.optim.running import Running
from sounding.optim.terrain import Terrain
from sounding.problems.known import STRICT_SADDLE
from sounding.result import Result
from sounding.train import Progress, silent

STEPS = {"negative_curvature": 500, "cubic": 200, "perturbed": 20_000, "noise": 20_000}
NEAR = 1e-3  # of the scale: the length of a first step away, and of the noise
BENT = 0.01  # of the largest curvature: noise does not wait for weaker curvature downwards
RISE = 10  # times curvature x noise^2: a rise of the loss that is the step's, not the noise's
STALL, LITTLE = 50, 1e-5  # steps that together win less than this share of the whole fall
POWERS = 3  # power iterations of a look at the curvature on the way
QUIET = 0.5  # of the steps: the noise's share; the rest is plain descent


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Escape(Result):
    """A way from one point to a lower one, what it cost, and what its end is."""

    method: str
    escaped: bool  # the loss fell, and the end passes the second-order test
    start_loss: float
    loss: float  # at the end
    losses: np.ndarray  # (T,) before each step
    steps: int
    gradients: int  # computed on the way; the certificate counts its own
    products: int  # of the Hessian with a vector
    distance: float  # between the two ends
    ell: float  # the largest curvature seen, in size; it sets lengths and rates
    certificate: StationaryPoint  # of the end
    applied: bool  # whether the model has been moved there
    seconds: float
    note: str = ""  # what to do where it did not escape, or not as far as it could
    parameters: dict[str, np.ndarray] = dataclasses.field(
        default_factory=dict, repr=False, metadata={"saved": False}
    )  # of the end, by name
    path: np.ndarray | None = dataclasses.field(
        default=None, repr=False, metadata={"saved": False}
    )  # (m, n) points on the way, where they were kept

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        said = f"escaped{note}" if self.escaped else f"DID NOT ESCAPE: {self.note}"
        return (
            f"{said}; loss {self.start_loss:.6g} -> {self.loss:.6g} in {self.steps} steps, "
            f"{self.gradients} gradients and {self.products} products; the end is "
            f"{self.certificate.kind}: {self.certificate.reason}"
        )

    def load_into(self, model: nn.Module) -> None:
        """Write the end into a model's parameters, in place.

        Raises:
            ValueError: If the model has other parameters.
        """
        load_parameters(self.parameters, model)


def escape(
    model: nn.Module,
    loss: Loss | Objective | None = None,
    batches: Any = None,
    *,
    method: str = "negative_curvature",
    steps: int | None = None,
    tol: float | None = None,
    lr: float | None = None,
    apply: bool = False,
    keep_path: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Escape:
    """Leave the saddle at, or near, the model's parameters; end with a certificate.

    The methods: 'negative_curvature' follows directions in which the loss curves downwards, found
    by Lanczos steps; 'cubic' is Newton's method with a cubic term; 'perturbed' is gradient descent
    with noise where the gradient is small (Jin et al. 2017), 'noise' with noise at every step (Ge
    et al. 2015), which the last half of the steps does without. Lengths and rates come from the
    largest curvature seen. Whatever the method, the run ends where the gradient is small
    and nothing curves down any more, or with its steps. From a non-strict
    saddle, where no curvature leads away, the way down that its certificate shows is taken.

    The full loss over all batches is followed, and its whole graph is held for second derivatives.

    Args:
        model: Any module; one whose forward pass returns the loss needs nothing else.
        loss: A function of (output, target), or an :class:`Objective` of (model, batch).
        batches: As for :func:`hessian`.
        method: One of those above.
        steps: At most; by default as many as suits the method.
        tol: How small the gradient has to become, relative to curvature times scale; 1e-6 by
            default in double precision, 1e-3 in single.
        lr: First rate of gradient steps; by default 1 / the largest curvature.
        apply: Whether to move the model to the end; else it is given back as it was.
        keep_path: Whether to keep the points on the way.
        seed: Of the noise and the Lanczos starts.
        progress: Told the loss, the steps made, and their number at most.

    Raises:
        ValueError: If the method is unknown; else as :func:`hessian`.

    Example:
        >>> class Saddle(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.x = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        ...
        ...     def forward(self):
        ...         return self.x[0] ** 2 - self.x[1] ** 2 + self.x[1] ** 4
        >>> found = escape(Saddle())
        >>> found.escaped, found.certificate.kind, round(found.loss, 6)
        (True, 'strict minimum', -0.25)
    """
    if method not in STEPS:
        raise ValueError(f"method is {method!r}; there are {', '.join(STEPS)}")
    begun, terrain = time.perf_counter(), Terrain(model, loss, batches, seed=seed)
    tol = max(1e-6, 4 * terrain.eps**0.5) if tol is None else tol
    most = STEPS[method] if steps is None else steps
    with terrain.open():
        run = _Run(terrain, method, tol, lr, seed)
        end = run.to_the_end(most, keep_path, progress)
    result = _result(run, end, begun, apply)
    if apply:
        result.load_into(model)
    return result


class _Run:
    """One method at work."""

    def __init__(
        self, terrain: Terrain, method: str, tol: float, lr: float | None, seed: int
    ) -> None:
        self.terrain, self.method, self.tol = terrain, method, tol
        self.start = self.x = terrain.here()
        self.start_loss, gradient = terrain.slope(self.start)
        if not math.isfinite(self.start_loss):
            raise ValueError(f"the loss is {self.start_loss} at the start, so there is no way on")
        self.scale = length_scale(self.start, 0.0)
        self.ell = self._curvature(gradient, seed)
        self.looked, self.looks = self.terrain.products, self.terrain.gradients
        self.eps = tol * self.ell * self.scale
        self.lr = lr or 1 / self.ell
        self.optimizer = self._made(seed)
        self.calm = False  # whether the noise is over
        self._norm = math.inf  # of the last gradient
        self._last = self.start  # the last point whose step did not go up
        self.losses: list[float] = []
        self.path: list[torch.Tensor] = []

    def _curvature(self, gradient: torch.Tensor, seed: int) -> float:
        """The largest in size at the start, or a little way off where that is larger."""
        operator = self.terrain.operator(self.start)
        ends = extremes(operator, tol=0.1, miss=0.1, most=60, seed=seed)
        step = self.terrain.random(1, seed=seed + 5)[0]
        step *= 0.1 * self.scale / step.norm()
        away = self.terrain.slope(self.start + step)[1]
        change = float((away - gradient).norm()) / (0.1 * self.scale)
        found = max(change, *(abs(float(end.values[0])) for end in ends))
        return found if found > 0 and math.isfinite(found) else 1.0

    def _made(self, seed: int) -> Running:
        parameters, radius = self.terrain.subject.parameters, NEAR * self.scale
        if self.method == "negative_curvature":
            return NegativeCurvature(
                parameters, self.lr, gradient_threshold=self.eps, length=radius, seed=seed,
                curvature_threshold=self.tol**0.5 * self.ell,
            )  # fmt: skip
        if self.method == "cubic":
            weight = self.ell / self.scale
            return CubicNewton(parameters, weight=weight, gradient_threshold=self.eps, seed=seed)
        if self.method == "noise":
            return NoisySGD(parameters, self.lr, seed=seed)
        return PerturbedSGD(parameters, self.lr, seed=seed)

    def _set_rate(self, lr: float) -> None:
        """The learning rate of a gradient method, and what depends on it."""
        self.lr, group, radius = lr, self.optimizer.param_groups[0], NEAR * self.scale
        # A curvature of -BENT ell carries the noise over the whole scale in so many steps.
        interval = math.ceil(math.log(1 / NEAR) / math.log1p(BENT * lr * self.ell))
        group["lr"] = lr
        if self.method == "noise":
            group["noise"] = 0.0 if self.calm else radius / lr
            return
        group["radius"], group["gradient_threshold"] = radius, self.eps
        group["interval"] = interval
        group["fall_threshold"] = lr * self.eps**2 * interval  # what a slope of eps would win

    def to_the_end(self, most: int, keep_path: bool, progress: Progress) -> StationaryPoint:
        """Steps, and the certificate; on from a non-strict saddle by its way down."""
        self.terrain.go(self.start)
        while True:
            self.go(most - len(self.losses), keep_path, progress)
            end, self.x, way = certified(self.terrain, self.x, tol=self.tol, eps=self.eps)
            over = self.optimizer.finished or isinstance(self.optimizer, NoisySGD | PerturbedSGD)
            if len(self.losses) >= most or (way is None and (over or end.second_order)):
                return end
            self.terrain.go(self.x if way is None else way)
            self.optimizer.record(finished=False)

    def go(self, most: int, keep_path: bool, progress: Progress) -> None:
        """Steps until the method has finished, or `most` of them."""
        optimizer, closure = self.optimizer, self._closure()
        by_gradients = isinstance(optimizer, NoisySGD | PerturbedSGD)
        if by_gradients:
            self._set_rate(self.lr)
        for step in range(most):
            if isinstance(optimizer, NoisySGD) and step >= QUIET * most:
                optimizer.param_groups[0]["noise"], self.calm = 0.0, True
                if self._norm <= self.eps:
                    break
            here = self.terrain.here()
            if step >= 8 and step & (step - 1) == 0:  # at 8, 16, 32, ...
                self._look_again(here)
            if keep_path:
                self.path.append(here)
            value = float(optimizer.step(closure))
            if by_gradients and self._rose(value):
                self._step_back(value)
                continue
            self._last = here
            self.losses.append(value)
            progress(f"loss {value:.6g}", step, most)
            if optimizer.finished or (not by_gradients and self._stalls()):
                break
        self.x = self.terrain.here()

    def _look_again(self, x: torch.Tensor) -> None:
        """Let `ell` and `eps` follow the largest curvature seen; the start may be flatter.

        By power iteration on differences of gradients, from the gradient.
        """
        self.scale = length_scale(x, float((x - self.start).norm()))
        here = self.terrain.slope(x)[1]
        direction, h = here, self.terrain.eps ** (1 / 3) * self.scale
        for _ in range(POWERS):
            if not float(direction.norm()) > 0:
                break
            change = (self.terrain.slope(x + h * direction / direction.norm())[1] - here) / h
            if not math.isfinite(float(change.norm())):
                break
            direction, self.ell = change, max(self.ell, float(change.norm()))
        self.terrain.go(x)
        self.looks += 1 + POWERS
        self.eps = self.tol * self.ell * self.scale
        group = self.optimizer.param_groups[0]
        group["gradient_threshold"] = self.eps
        if self.method == "negative_curvature":
            group["curvature_threshold"] = self.tol**0.5 * self.ell  # sqrt(rho eps), rho = ell / s
        if self.method in ("perturbed", "noise"):
            self._set_rate(min(self.lr, 1 / self.ell))

    def _stalls(self) -> bool:
        """Whether the last steps won next to nothing: time for a certificate."""
        if len(self.losses) % STALL:
            return False
        return self.losses[-STALL] - self.losses[-1] <= LITTLE * (self.start_loss - self.losses[-1])

    def _step_back(self, value: float) -> None:
        """To the point before the step that went up; at a rate that suits its curvature."""
        rate = self.lr
        self._look_again(self._last)
        if self.lr == rate and (self.method == "perturbed" or self.calm or not value < math.inf):
            self._set_rate(rate / 2)

    def _rose(self, value: float) -> bool:
        """Whether the last step went up by more than its noise explains: it was too long."""
        run = self.optimizer.run
        noisy = run["steps"] - 2 == run["perturbed_at"] if "perturbed_at" in run else not self.calm
        noise = RISE * self.ell * (NEAR * self.scale) ** 2 if noisy else 0.0
        before = self.losses[-1] if self.losses else self.start_loss
        rounding = 16 * self.terrain.eps * max(abs(self.start_loss), abs(before))
        return not value <= before + noise + rounding

    def _closure(self) -> Callable[[], Any]:
        terrain, optimizer = self.terrain, self.optimizer
        if isinstance(optimizer, NegativeCurvature | CubicNewton):
            return terrain.total
        parameters = terrain.subject.parameters

        def with_gradients() -> float:
            value, gradient = terrain.slope(terrain.here())
            self._norm = float(gradient.norm())
            for p, part in zip(parameters, terrain.subject.layout.split(gradient), strict=True):
                p.grad = part
            return value

        return with_gradients


def _result(run: _Run, end: StationaryPoint, begun: float, apply: bool) -> Escape:
    moved = float((run.x - run.start).norm())
    rounding = 16 * run.terrain.eps * abs(run.start_loss)
    lower = end.loss < run.start_loss - rounding
    return Escape(
        method=run.method,
        escaped=bool(lower and end.second_order),
        start_loss=run.start_loss,
        loss=end.loss,
        losses=np.array(run.losses),
        steps=run.optimizer.run["steps"],
        gradients=run.optimizer.gradients + run.looks,
        products=run.optimizer.products + run.looked,
        distance=moved,
        ell=run.ell,
        certificate=end,
        applied=apply,
        seconds=time.perf_counter() - begun,
        note=_advice(run, end, lower),
        parameters=named(run.terrain.subject.names, run.terrain.subject.layout.split(run.x)),
        path=torch.stack(run.path).double().cpu().numpy() if run.path else None,
    )


def _advice(run: _Run, end: StationaryPoint, lower: bool) -> str:
    if not lower:
        return (
            "no way down was found; sounding.stationary says what kind of point this is"
            if run.optimizer.finished
            else "the loss did not fall; give more steps, or method='negative_curvature'"
        )
    if end.second_order:
        weak = (
            "the end still curves downwards, by less than the test asks for; a smaller tol goes on"
        )
        return weak if end.kind == STRICT_SADDLE else ""
    if end.gradient_norm > end.eps:
        return (
            f"the gradient is still {end.gradient_norm:.2g}, above {end.eps:.2g}; give more steps"
        )
    return "the loss still curves downwards at the end; give more steps"
