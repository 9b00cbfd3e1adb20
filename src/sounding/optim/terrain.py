"""A loss as a function of one flat vector: its value, its gradient, its Hessian, at any point.

Letters: n parameters in all, m points.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sounding.capture.keep import given_back
from sounding.capture.kinks import Kinks
from sounding.curvature.backward import Backward
from sounding.curvature.hessian import hessian
from sounding.curvature.operator import Operator
from sounding.curvature.pieces import pieces, read_again
from sounding.curvature.products import loss_at
from sounding.curvature.setting import Subject, seed_passes
from sounding.objective import Loss, Objective, as_objective
from sounding.train import check_model, check_numbers
from sounding.vectors import normal

SAME = 1e-3  # relative: a dense Hessian that a difference of gradients contradicts is off by more
UNLIKE = 1e-5  # relative: a difference of two calls that rounding does not explain
STEP = {torch.float64: 1e-6, torch.float32: 1e-3}  # of such a difference, times the length scale


def of_loss(loss: Loss | Objective | None) -> Objective:
    """`loss` as an Objective; without one, the model's forward pass returns the loss itself."""
    return Objective(lambda model, _: model()) if loss is None else as_objective(loss)


def differing(one: float, other: float) -> str:
    """What is said where two calls at one point give two losses."""
    return (
        f"two calls at the same point give {one:.6g} and {other:.6g}: the loss draws from a "
        "generator that torch does not know, or keeps state; differences as small are noise"
    )


def drawing(seed: int, moved: float) -> str:
    """What is said where passes draw numbers, another draw of which moves the loss."""
    return (
        f"the passes draw random numbers (dropout): all points use one draw, of seed {seed}; "
        f"another one moves the loss at the model by {moved:.3g}"
    )


class Terrain:
    """The mean loss over some batches, as a function of a model's trainable parameters.

    Points are flat vectors, (n,). Use it inside :meth:`open`, which gives the model back.

    Attributes:
        gradients: Gradients of the whole loss computed so far.
        size: n.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | Objective | None = None,
        batches: Any = None,
        *,
        seed: int = 0,
    ) -> None:
        """Arguments as of :func:`sounding.hessian`; problems whose forward is the loss need none.

        Raises:
            ValueError: If nothing can be trained, or there is no batch.
        """
        check_model(model)
        self.objective = of_loss(loss)
        self.subject = Subject(model, self.objective, seed=seed)
        batches = [None] if batches is None else batches
        with given_back(self.subject.model):  # a loader draws from torch's generator
            self.parts = pieces(batches, micro_batch=None, reduction="mean")
            self.read = read_again(batches, self.parts[0].batch)
        for part in self.parts:
            check_numbers(part.batch)
        self.gradients = 0
        self._dense_products = 0
        self._operators: list[Operator] = []
        self._at_once: bool | None = None  # whether many points go through in one pass
        self._batched: bool | None = None  # whether many rows of a dense Hessian do
        self._trusted = False  # whether double backward has been compared with a difference
        self._method: str | None = None  # of operators, once one has been checked

    @property
    def size(self) -> int:
        """Parameters in all, n."""
        return self.subject.layout.size

    @property
    def eps(self) -> float:
        """Relative rounding of the parameters' numbers."""
        return float(torch.finfo(self.subject.dtype).eps)

    @property
    def products(self) -> int:
        """Products of a Hessian with a vector, so far."""
        return self._dense_products + sum(operator.products for operator in self._operators)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Inside, points may be visited; the model is given back to the bit."""
        parameters = self.subject.parameters
        before = [p.data for p in parameters]
        with self.subject.prepared():
            self._buffers = [
                (module, name, buffer.detach().clone())
                for module in self.subject.model.modules()
                for name, buffer in module._buffers.items()
                if buffer is not None
            ]
            try:
                yield
            finally:
                for p, data in zip(parameters, before, strict=True):
                    p.data = data

    def here(self) -> torch.Tensor:
        """(n,) the point at which the model is now, a copy."""
        return self.subject.layout.join([p.detach() for p in self.subject.parameters]).clone()

    def total(self) -> torch.Tensor:
        """() the loss where the model is now, with its graph."""
        with torch.enable_grad():
            return torch.stack([p.weight * self._pass(p.batch) for p in self.parts]).sum()

    def caveats(self, x: torch.Tensor) -> tuple[bool, tuple[str, ...]]:
        """Whether two calls at x agree, and what a reader of its numbers must know."""
        said = [self.read] * bool(self.read)
        one, other = self.height(x), self.height(x)
        if not math.isclose(one, other, rel_tol=UNLIKE, abs_tol=UNLIKE):
            return False, (*said, differing(one, other))
        self.subject.seed += 1
        moved = abs(self.height(x) - one)
        self.subject.seed -= 1
        if moved > UNLIKE * abs(one):
            said.append(drawing(self.subject.seed, moved))
        return True, tuple(said)

    # -- values and gradients -----------------------------------------------------------------

    def height(self, x: torch.Tensor) -> float:
        """The loss at x; nan or infinite where it is not finite."""
        self.go(x)
        return sum(p.weight * float(self._pass(p.batch).detach()) for p in self.parts)

    def slope(self, x: torch.Tensor) -> tuple[float, torch.Tensor]:
        """The loss at x, and (n,) its gradient."""
        found = self.slopes_by_part(x)
        self.gradients += 1
        total = sum(weight * loss for weight, loss, _ in found)
        if len(found) == 1:
            return total, found[0][2]
        return total, torch.stack([weight * gradient for weight, _, gradient in found]).sum(0)

    def slopes_by_part(self, x: torch.Tensor) -> list[tuple[float, float, torch.Tensor]]:
        """(weight, loss, gradient (n,)) of each batch at x."""
        self.go(x)
        found = []
        for part in self.parts:
            loss = self._pass(part.batch)
            parts = torch.autograd.grad(loss, self.subject.parameters, materialize_grads=True)
            gradient = self.subject.layout.join([_dense(g) for g in parts])
            found.append((part.weight, float(loss.detach()), gradient))
        return found

    def slopes(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(m,) losses and (m, n) gradients at (m, n) points, in one pass where that is possible."""
        self.gradients += len(points)
        if self._at_once is None:
            one_by_one = self._slopes_one_by_one(points)
            self._at_once = False
            with contextlib.suppress(Exception):  # not every operation can be vectorised
                together = self._slopes_at_once(points)
                scale = float(one_by_one[1].abs().max())
                close = 1e3 * self.eps * scale
                self._at_once = bool((together[1] - one_by_one[1]).abs().max() <= close)
            return one_by_one
        return self._slopes_at_once(points) if self._at_once else self._slopes_one_by_one(points)

    def _slopes_one_by_one(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        counted = self.gradients
        pairs = [self.slope(x) for x in points]
        self.gradients = counted
        losses = torch.tensor([loss for loss, _ in pairs], dtype=torch.float64)
        return losses, torch.stack([gradient for _, gradient in pairs])

    def _slopes_at_once(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        names = list(self.subject.names)
        values = dict(zip(names, self.subject.layout.split(points), strict=True))
        losses = torch.zeros(len(points), dtype=torch.float64)
        total = torch.zeros_like(points)
        for part in self.parts:
            self._settle()
            one = torch.func.grad_and_value(lambda v, b=part.batch: loss_at(self.subject, v, b))
            gradients, heights = torch.func.vmap(one)(values)
            rows = self.subject.layout.join([gradients[n] for n in names], ahead=1)
            total += part.weight * rows
            losses += part.weight * heights.double().cpu()
        return losses, total

    def kinks(self, x: torch.Tensor) -> tuple[int, int]:
        """Pre-activations of rectifiers at x: on a kink, and in all."""
        with Kinks() as seen:
            self.height(x)
        return seen.near, seen.total

    def smooth(self, x: torch.Tensor) -> bool:
        """Whether the gradient changes alike on both sides of x, along a random direction.

        Where rectifiers are on a kink that the loss does not have (it takes their square, say).
        """
        v = self.random(1, seed=self.subject.seed + 2)[0]
        v /= v.norm()
        here, scale = self.slope(x)[1], float(x.norm()) or 1.0
        change = float((self.slope(x + 0.1 * scale * v)[1] - here).norm()) / (0.1 * scale)
        for h in (self._short(x), 10 * self._short(x)):
            ahead, behind = self.slope(x + h * v)[1] - here, here - self.slope(x - h * v)[1]
            rounding = 100 * self.eps * float(here.norm() + ahead.norm())
            most = SAME * max(float(ahead.norm()), float(behind.norm()), change * h) + rounding
            if not float((ahead - behind).norm()) <= most:
                return False
        return True

    # -- Hessians -----------------------------------------------------------------------------

    def dense(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n) the Hessian at x; costs n products.

        The first one is compared with a difference of gradients; where they disagree,
        :func:`sounding.hessian` and its checks take over.

        Raises:
            ValueError: As :func:`sounding.hessian`.
        """
        if self._method is None:
            matrix = self._double_backward(x)
            if self._trusted or self._agrees(x, matrix):
                self._trusted = True
                return matrix
            if self.kinks(x)[0]:  # it is checked at the next point
                return self._by_differences(x) if self.smooth(x) else matrix
        return self.operator(x).to_dense()

    def operator(self, x: torch.Tensor) -> Operator:
        """The Hessian at x by its products; the first one that is not on a kink is checked."""
        checked = self._method is None and not self.kinks(x)[0]
        self.go(x)
        self._settle()
        made = hessian(
            self.subject.model,
            self.objective,
            [part.batch for part in self.parts],
            check=checked,
            method=self._method,
            seed=self.subject.seed,
        )
        if checked:
            self._method = "difference" if "differences" in made.method else "kept"
            self._method = "forward" if "forward" in made.method else self._method
        self._operators.append(made)
        return made

    def _double_backward(self, x: torch.Tensor) -> torch.Tensor:
        self.go(x)
        self._dense_products += self.size
        total = torch.zeros(self.size, self.size, dtype=x.dtype, device=x.device)
        for part in self.parts:
            loss = self._pass(part.batch)
            gradients = torch.autograd.grad(
                loss, self.subject.parameters, create_graph=True, materialize_grads=True
            )
            backward = Backward(gradients, self.subject.parameters, batched=self._batched)
            total += part.weight * backward(torch.eye(self.size, dtype=x.dtype, device=x.device))
            self._batched = backward.batched
        return (total + total.T) / 2

    def _by_differences(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n) from central differences of the gradient."""
        h = self._short(x)
        steps = h * torch.eye(self.size, dtype=x.dtype, device=x.device)
        ahead, behind = self.slopes(x + steps)[1], self.slopes(x - steps)[1]
        found = (ahead - behind) / (2 * h)
        return (found + found.T) / 2

    def _short(self, x: torch.Tensor) -> float:
        """A step for differences of gradients."""
        return STEP[x.dtype] * (float(x.norm()) or 1.0)

    def _agrees(self, x: torch.Tensor, matrix: torch.Tensor) -> bool:
        """Whether differences of the gradient, along a random direction, say the same."""
        if self.subject.dtype != torch.float64:
            return False  # a difference in single precision tells too little
        v = self.random(1, seed=self.subject.seed + 1)[0]
        v /= v.norm()
        h = self._short(x)
        ahead, behind = self.slope(x + h * v)[1], self.slope(x - h * v)[1]
        here = self.slope(x)[1]
        off = float(((ahead - behind) / (2 * h) - matrix @ v).norm())
        curved = float((ahead + behind - 2 * here).norm()) / h
        rounding = self.eps * float(ahead.norm() + behind.norm()) / h
        scale = float(matrix.norm()) + curved
        return math.isfinite(off) and off <= SAME * scale + 100 * rounding

    # -- passes -------------------------------------------------------------------------------

    def random(self, count: int, *, seed: int) -> torch.Tensor:
        """(count, n) standard normal numbers."""
        return normal(
            count, self.size, seed=seed, dtype=self.subject.dtype, device=self.subject.device
        )

    def go(self, x: torch.Tensor) -> None:
        """Move the model to x, (n,); the model gets numbers of its own."""
        x = x.clone()
        for p, part in zip(self.subject.parameters, self.subject.layout.split(x), strict=True):
            p.data = part.to(p.dtype)

    def _pass(self, batch: Any) -> torch.Tensor:
        """() the loss with its graph: the same function at every call."""
        self._settle()
        return self.subject.loss(batch)

    def _settle(self) -> None:
        seed_passes(self.subject.seed)
        for module, name, buffer in self._buffers:
            module._buffers[name] = buffer.clone()


def _dense(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient
