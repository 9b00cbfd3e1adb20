"""Does the loss fall along directions in which the Hessian is flat?

Let H be positive semi-definite at x, K its kernel and R the rest. By the splitting lemma (Gromoll &
Meyer 1969) x is a minimum if and only if 0 is one of

    phi(u) = min over w in R of f(x + u + w),   u in K, near 0:

looking along straight lines in K is not enough (of y^2 - 2 x^2 y + x^4 / 2 the loss rises along
every line through 0, and falls along y = x^2). So each point of a small sphere in K is relaxed in R
by Newton steps, and moved on the sphere towards lower phi. A way down counts if it goes on at
shorter and shorter lengths, falls with at least about the third power of the length, and the loss
itself is lower than at x by more than rounding.

Letters: n parameters, k flat directions, m candidates.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from sounding.optim.terrain import Terrain

RADII = (0.1, 0.005)  # of the scale: where the loss is looked at
PAIRS = 6  # candidates, each with its opposite
MOVES = 6  # of each candidate on its sphere
RELAXED, SETTLED = 2, 4  # Newton steps in the rest: while candidates move, and at the end
ANGLE = 0.5  # first move on the sphere, radians
SHRINK, RUNGS = 2.0, 4  # the lengths r, r/2, r/4, r/8 at which a way down has to go on
ORDER = 2.5  # orders below this are slopes and curvatures, which other tests judge
STEEPER = 3.0  # times the gradient at the point itself: slopes that are not its doing
ABOVE = 16.0  # times the rounding of the loss: a fall that counts


@dataclasses.dataclass(frozen=True)
class Way:
    """A way down, or the lowest that was seen."""

    order: float  # p in fall ~ length^p; nan where there is no way down
    fall: float  # f(x) - f at its end
    end: torch.Tensor | None  # (n,) its end
    rises: bool  # whether every candidate was higher, by more than rounding, at all radii


class Kernel:
    """The flat directions at a point, and the Newton steps in the rest."""

    def __init__(
        self, terrain: Terrain, x: torch.Tensor, loss: float, flat: torch.Tensor,
        rest: torch.Tensor, curvatures: torch.Tensor, slope: float, sign: int = 1,
    ) -> None:  # fmt: skip
        """`flat` is (k, n), `rest` (n - k, n) with `curvatures`, (n - k,) all of one sign.

        `slope` is the length of the gradient's share in K at x. With `sign` -1 ways up are looked
        for.
        """
        self.slope, self.sign = slope, sign
        self.terrain, self.x, self.loss = terrain, x, loss
        self.flat, self.rest, self.curvatures = flat, rest, curvatures

    def at(
        self, directions: torch.Tensor, radius: float, *, relaxed: int = RELAXED
    ) -> tuple[torch.Tensor, ...]:
        """(m,) phi - f(x), (m, k) its gradient in K, (m, n) the points, of (m, k) directions."""
        points = self.x + radius * directions @ self.flat
        for _ in range(relaxed if len(self.rest) else 0):
            _, gradients = self.terrain.slopes(points)
            points = points - (gradients @ self.rest.T / self.curvatures) @ self.rest
        losses, gradients = self.terrain.slopes(points)
        return self.sign * (losses - self.loss), self.sign * gradients @ self.flat.T, points


def way_down(kernel: Kernel, scale: float, *, seed: int = 0) -> Way:
    """A way down from the point along its flat directions, or none."""
    rounding = ABOVE * kernel.terrain.eps * max(abs(kernel.loss), _height(kernel, scale))
    lowest, rises = 0.0, True
    directions = _candidates(len(kernel.flat), kernel.flat, seed)
    for radius in (r * scale for r in RADII):
        heights, directions = _descended(kernel, directions, radius)
        lowest = max(lowest, -float(heights.min()))
        rises = rises and bool((heights > rounding).all())
        for at in torch.argsort(heights)[:3]:
            if not float(heights[at]) < -rounding:
                break
            found = _followed(kernel, directions[at], radius, rounding)
            if found is not None:
                return found
    return Way(math.nan, 0.0, None, rises)


def _height(kernel: Kernel, scale: float) -> float:
    """How much the loss varies over the neighbourhood: sums as large as that are rounded."""
    step = kernel.terrain.random(1, seed=3)[0]
    away = kernel.terrain.height(kernel.x + RADII[0] * scale * step / step.norm())
    return abs(away - kernel.loss) if math.isfinite(away) else 0.0


def _candidates(k: int, like: torch.Tensor, seed: int) -> torch.Tensor:
    """(m, k) unit vectors on the sphere, each with its opposite; for k = 1 the only two."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(1 if k == 1 else PAIRS, k, generator=generator, dtype=torch.float64)
    drawn = drawn / drawn.norm(dim=1, keepdim=True)
    return torch.cat([drawn, -drawn]).to(like.device, like.dtype)


def _descended(
    kernel: Kernel, directions: torch.Tensor, radius: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(m,) heights and (m, k) directions, moved on the sphere towards lower ones."""
    heights, slopes, _ = kernel.at(directions, radius)
    if directions.shape[1] == 1:
        return heights, directions
    angles = torch.full_like(heights, ANGLE)
    for _ in range(MOVES):
        along = (slopes * directions).sum(1, keepdim=True)
        tangent = slopes - along * directions
        length = tangent.norm(dim=1, keepdim=True)
        if not bool((length > 0).any()):
            break
        step = -tangent / length.clamp(min=1e-300)
        turn = angles.to(directions.device, directions.dtype)[:, None]
        tried = directions * turn.cos() + step * turn.sin()
        lower, new_slopes, _ = kernel.at(tried / tried.norm(dim=1, keepdim=True), radius)
        better = lower < heights
        chosen = better.to(directions.device)[:, None]
        directions = torch.where(chosen, tried / tried.norm(dim=1, keepdim=True), directions)
        slopes = torch.where(chosen, new_slopes, slopes)
        heights = torch.where(better, lower, heights)
        angles = torch.where(better, angles, angles / 4)
    return heights, directions


def _followed(
    kernel: Kernel, direction: torch.Tensor, radius: float, rounding: float
) -> Way | None:
    """The way along one direction, if it goes down at all shorter lengths too."""
    radii = [radius / SHRINK**i for i in range(RUNGS)]
    falls, inwards, end = [], [], None
    for r in radii:
        heights, slopes, points = kernel.at(direction[None], r, relaxed=SETTLED)
        falls.append(-float(heights[0]))
        inwards.append(-float((slopes[0] * direction).sum()))
        end = points[0] if end is None else end
    if min(falls[:2]) <= rounding or min(inwards) <= STEEPER * kernel.slope:
        return None
    order = 1 + float(np.polyfit(np.log(radii), np.log(inwards), 1)[0])
    return Way(order, falls[0], end, False) if order >= ORDER else None
