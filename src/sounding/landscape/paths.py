"""The loss along a curve between two solutions, and the barrier on it.

Letters: T places along the curve, G groups of samples, n parameters in all.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding import verdict
from sounding.curvature.pieces import Piece
from sounding.curvature.setting import samples, sliced
from sounding.landscape.directions import flat
from sounding.landscape.ground import BATCH_NORM, Ground, close
from sounding.landscape.matching import matched
from sounding.objective import Loss, Objective
from sounding.optim.terrain import differing, drawing
from sounding.result import Result
from sounding.train import Progress, silent
from sounding.vectors import Pattern

KINDS = {
    "line": "straight line",
    "bezier": "quadratic Bezier curve, its bend trained (Garipov et al. 2018)",
    "chain": "polygonal chain, its bends trained (Garipov et al. 2018)",
}
GROUPS = 20  # of samples, that the interval of the barrier is taken over
RATE = 0.01  # of the parameters' root mean square: a step of Adam on a bend


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Path(Result):
    """The loss at T places along a curve from one point (t = 0) to another (t = 1).

    The barrier is the largest excess of the loss over the straight line between the losses at the
    ends. Its interval is over groups of samples: where on the curve the excess is largest is
    chosen on one half of the groups, and measured on the other, and the other way round, so that
    the choice does not raise it.
    """

    curve: str  # 'line', 'bezier' or 'chain'
    at: np.ndarray  # (T,) from 0 to 1
    losses: np.ndarray  # (T,) nan or inf where the loss is not finite
    errors: np.ndarray  # (T,) one standard error over the groups; nan with fewer than two
    barrier: float  # largest excess over the line between the ends
    peak: float  # where it is, between 0 and 1
    interval: tuple[float, ...]  # (low, high) of the barrier; nan where it is not known
    level: float  # of the interval
    groups: int  # G
    samples: int
    distance: float  # between the ends, in parameter space
    length: float  # of the curve
    moved: int  # hidden units that were permuted first; -1 where none was to be
    unmatched: float  # distance before they were
    training: np.ndarray  # (steps,) loss while the bends were trained; (0,) for a line
    batch_norm: str  # which statistics batch norms used, in words; '' without any
    model: str
    parameters: int  # n
    seed: int
    seconds: float
    notes: tuple[str, ...] = ()
    bends: torch.Tensor | None = dataclasses.field(
        default=None, repr=False, metadata={"saved": False}
    )  # (K, n) trained points between the ends

    def __str__(self) -> str:
        low, high = self.interval
        sure = f" [{low:.4g}, {high:.4g}]" if math.isfinite(low) else ", of unknown error"
        return (
            f"{KINDS[self.curve].split(',')[0]} from loss {self.losses[0]:.4g} to "
            f"{self.losses[-1]:.4g}: barrier {self.barrier:.4g}{sure} at t = {self.peak:.2g}"
        )


def path(
    model: nn.Module,
    other: Any,
    loss: Loss | Objective,
    batches: Any,
    *,
    kind: str = "line",
    start: Any = None,
    match: bool = False,
    points: int = 25,
    bends: int | None = None,
    steps: int = 200,
    lr: float | None = None,
    batch_norm: str | None = None,
    parameters: Pattern = None,
    reduction: str = "mean",
    level: float = 0.95,
    seed: int = 0,
    progress: Progress = silent,
) -> Path:
    """The loss along a curve from the model's parameters to another solution's.

    The model is not changed. Costs `points` passes over the batches, and `steps` gradients of one
    batch each for a curve whose bends are trained.

    Args:
        model: The architecture, and one end.
        other: The other end: a state dict, a module, or a flat vector.
        loss: A function of (output, target), or an :class:`Objective` of (model, batch).
        batches: One batch as a pair of tensors; or several, in a list or a DataLoader, read once.
        kind: 'line', 'bezier' or 'chain'.
        start: The end at t = 0, in place of the model's own parameters.
        match: Permute the hidden units of `other` first, so that its weights lie near the model's
            (weight matching, Ainsworth et al. 2022). Its function stays the same.
        points: Places along the curve, 3 at least.
        bends: Points between the ends that are trained: 1 for 'bezier', by default 3 for 'chain'.
        steps: Of Adam, each on one batch at one random place.
        lr: Its rate, which falls linearly to zero; by default 1 % of the parameters' root mean
            square.
        batch_norm: As for :func:`sounding.surface`; by default 'recalibrated' where there are
            running statistics and the model is in evaluation mode, since those of neither end are
            right between them.
        parameters: Names or patterns; the others stay as the model has them.
        reduction: 'mean' or 'sum': what the loss does over the samples of a batch.
        level: Of the barrier's interval.
        seed: Of the bends' training, and of what passes draw.
        progress: Told the steps and points that are done.

    Raises:
        TypeError: If `model` is no module.
        ValueError: If an argument makes no sense, the ends do not fit the model or coincide, or
            the units are to be matched and cannot be.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> x, zero = torch.eye(2), torch.zeros(2, 1)
        >>> mirrored = {"weight": -net.weight}  # loss w^2, whose lowest place is half way
        >>> found = path(net, mirrored, nn.functional.mse_loss, (x, zero), points=5)
        >>> found.barrier, bool(found.losses[2] == 0)
        (0.0, True)
    """
    started = time.perf_counter()
    bends = _checked(model, kind, points, bends, steps)
    ground = _ground(model, loss, batches, parameters, reduction, batch_norm, seed)
    first = ground.centre if start is None else flat(ground, start)
    last, moved = flat(ground, other), -1
    unmatched = float((first - last).double().norm())
    if match:
        last, moved = _matched(ground, first, other, seed)
    distance = float((first - last).double().norm())
    if not distance > 0:
        raise ValueError("both ends are the same point; pass another solution as the second end")
    with ground.prepared():
        ground.notes += _unsteady(ground, ground.first())
        if match:
            _check_same_function(ground, flat(ground, other), last)
        curve = _Curve(kind, first, last, bends)
        training = curve.train(ground, steps, lr, seed, progress) if bends else np.zeros(0)
        groups = _groups(ground)
        at = np.linspace(0, 1, points)
        table = _measured(ground, curve, at, groups, progress)
    weights = np.array([g.weight for g in groups])
    return _result(
        ground, curve, at, table, weights, level,
        distance=distance, unmatched=unmatched, moved=moved, training=training, seed=seed,
        model=type(model).__name__, seconds=time.perf_counter() - started,
    )  # fmt: skip


def _checked(model: Any, kind: str, points: int, bends: int | None, steps: int) -> int:
    """How many bends there are."""
    if isinstance(model, Mapping):
        raise TypeError(
            "the first argument is a state dict, which cannot be run; pass the model, and the "
            "state dict as start=..."
        )
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; there are {', '.join(KINDS)}")
    if points < 3:
        raise ValueError(f"points is {points}; a path needs 3 at least")
    usual = {"line": 0, "bezier": 1, "chain": 3}[kind]
    bends = usual if bends is None else bends
    if (kind == "chain" and bends < 1) or (kind != "chain" and bends != usual):
        raise ValueError(
            f"bends is {bends}; a {kind} has {usual if kind != 'chain' else '1 or more'}"
        )
    if bends and steps < 1:
        raise ValueError(f"steps is {steps}; training a bend needs 1 at least")
    return bends


def _ground(
    model: nn.Module, loss: Any, batches: Any, parameters: Pattern, reduction: str,
    batch_norm: str | None, seed: int,
) -> Ground:  # fmt: skip
    def made(how: str) -> Ground:
        return Ground(
            model, loss, batches, parameters=parameters, reduction=reduction, batch_norm=how,
            seed=seed,
        )  # fmt: skip

    ground = made(batch_norm or "mode")
    running = any(m.running_mean is not None and not m.training for m in ground.norms())
    return made("recalibrated") if batch_norm is None and running else ground


def _unsteady(ground: Ground, loss: float) -> list[str]:
    """What a reader must know of passes that draw, and of calls that differ."""
    with torch.no_grad():
        again, apart = float(ground.loss(ground.centre)), ground.drawn(loss)
    if not close(loss, again):
        return [differing(loss, again)]
    return [] if apart is None else [drawing(ground.seed, apart)]


def _matched(
    ground: Ground, first: torch.Tensor, other: Any, seed: int
) -> tuple[torch.Tensor, int]:
    """The other end with its units permuted, and how many of them moved."""
    named = [
        dict(zip(ground.names, ground.layout.split(v), strict=True))
        for v in (first, flat(ground, other))
    ]
    state, moved = matched(ground.model, named[0], named[1], seed=seed)
    if moved == 0:
        ground.notes.append("no hidden unit was moved: the order is the best one already")
    return flat(ground, state), moved


def _check_same_function(ground: Ground, before: torch.Tensor, after: torch.Tensor) -> None:
    """A permutation of units changes no loss."""
    if ground.batch_norm == "running" and ground.norms():
        return  # the model's own statistics belong to neither
    with torch.no_grad():
        one, other = float(ground.loss(before)), float(ground.loss(after))
    if not close(one, other) and abs(one - other) > 1e-4 * abs(one):
        raise ValueError(
            f"permuting the units changed the loss from {one:.6g} to {other:.6g}: a layer depends "
            "on their order in a way that is not seen; pass match=False"
        )


class _Curve:
    """A curve through parameter space; every point is a weighted sum of ends and bends."""

    def __init__(self, kind: str, first: torch.Tensor, last: torch.Tensor, bends: int) -> None:
        self.kind, self.first, self.last = kind, first, last
        share = torch.arange(1, bends + 1, device=first.device, dtype=first.dtype) / (bends + 1)
        self.bends = first + share[:, None] * (last - first)  # (K, n)

    def weights(self, t: float) -> torch.Tensor:
        """(K + 2,) of the first end, the bends, and the last end."""
        if self.kind == "bezier":
            values = [(1 - t) ** 2, 2 * t * (1 - t), t**2]
        else:
            knots = np.linspace(0, 1, len(self.bends) + 2)
            values = [np.interp(t, knots, row) for row in np.eye(len(knots))]
        return self.first.new_tensor(values)

    def point(self, t: float) -> torch.Tensor:
        """(n,) with a graph where the bends have one."""
        w = self.weights(t)
        return w[0] * self.first + w[1:-1] @ self.bends + w[-1] * self.last

    def train(
        self, ground: Ground, steps: int, lr: float | None, seed: int, progress: Progress
    ) -> np.ndarray:
        """(steps,) losses while Adam lowers the mean loss along the curve."""
        size = float(self.first.double().square().mean().sqrt())
        self.bends.requires_grad_()
        optimizer = torch.optim.Adam([self.bends], RATE * size if lr is None else lr)
        to_zero = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / steps, steps)
        places = np.random.default_rng(seed).random(steps)
        recalibrated = ground.batch_norm == "recalibrated"
        for module in ground.norms() if recalibrated else ():
            module.training = True  # as in ordinary training; the profile recalibrates
        losses = []
        with torch.enable_grad():
            for i, t in enumerate(places):
                (value,) = ground.each(self.point(float(t)), [ground.parts[i % len(ground.parts)]])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                to_zero.step()
                losses.append(float(value.detach()))
                progress("training the bends", i + 1, steps)
        for module in ground.norms() if recalibrated else ():
            module.training = False
        self.bends = self.bends.detach()
        return np.array(losses)

    def length(self) -> float:
        """In parameter space, by 64 chords."""
        w = torch.stack([self.weights(t) for t in np.linspace(0, 1, 65)]).double()
        knots = torch.cat([self.first[None], self.bends, self.last[None]]).double()
        return float((w.diff(dim=0) @ knots).norm(dim=1).sum())


def _groups(ground: Ground) -> list[Piece]:
    """The batches, cut into about `GROUPS` where each sample's loss is its own."""
    parts = ground.parts
    size = math.ceil(ground.samples / GROUPS)
    if len(parts) >= GROUPS or ground.reduction != "mean":
        return parts
    cut: list[Piece] = []
    for part in parts:
        count = samples(part.batch)
        if count is None:
            return parts
        starts = range(0, count, size)
        for i in starts:
            n = min(size, count - i)
            cut.append(Piece(sliced(part.batch, i, i + n), part.weight * n / count))
    with torch.no_grad():
        whole = float(ground.loss(ground.centre))
        values = ground.each(ground.centre, cut)
    added = sum(p.weight * float(v) for p, v in zip(cut, values, strict=True))
    return cut if close(whole, added) else parts


def _measured(
    ground: Ground, curve: _Curve, at: np.ndarray, groups: list[Piece], progress: Progress
) -> np.ndarray:
    """(T, G) the loss of every group at every place."""
    rows = []
    with torch.no_grad():
        for i, t in enumerate(at):
            rows.append([float(v) for v in ground.each(curve.point(float(t)), groups)])
            progress("points of the path", i + 1, len(at))
    return np.array(rows)


def _result(
    ground: Ground, curve: _Curve, at: np.ndarray, table: np.ndarray, weights: np.ndarray,
    level: float, **more: Any,
) -> Path:  # fmt: skip
    losses = table @ weights
    shares = weights / weights.sum()
    with np.errstate(invalid="ignore"):
        deviation = table - (table @ shares)[:, None]
        spread = (shares**2 * deviation**2).sum(1) * len(weights) / max(len(weights) - 1, 1)
    errors = np.sqrt(spread) if len(weights) > 1 else np.full(len(at), np.nan)
    excess = _excess(at, losses)
    peak = int(np.argmax(np.where(np.isfinite(excess), excess, -np.inf)))
    if not np.isfinite(losses).all():
        ground.notes.append("the loss is not finite somewhere on the path, so the barrier is")
    infinite = bool(np.isnan(losses).any() or np.isinf(losses).any())
    return Path(
        curve=curve.kind,
        at=at,
        losses=losses,
        errors=errors,
        barrier=math.inf if infinite else float(excess[peak]),
        peak=float(at[peak]),
        interval=(math.nan, math.nan) if infinite else _interval(at, table, level),
        level=level,
        groups=len(weights),
        samples=ground.samples,
        length=curve.length(),
        batch_norm=BATCH_NORM[ground.batch_norm] if ground.norms() else "",
        parameters=ground.size,
        notes=tuple(ground.notes),
        bends=curve.bends if len(curve.bends) else None,
        **more,
    )


def _excess(at: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """(T, ...) loss above the straight line between those of the ends."""
    line = np.multiply.outer(1 - at, losses[0]) + np.multiply.outer(at, losses[-1])
    return losses - line


def _interval(at: np.ndarray, table: np.ndarray, level: float) -> tuple[float, float]:
    """Of the mean excess at the peak; each half of the groups is measured at the other's peak."""
    count = table.shape[1]
    if count < 4:
        return math.nan, math.nan
    excess = _excess(at, table)  # (T, G)
    half = np.arange(count) % 2 == 0
    own = np.empty(count)
    for here in (half, ~half):
        own[here] = excess[int(excess[:, ~here].mean(1).argmax()), here]
    found = verdict.mean(own, level=level).interval
    return float(found[0]), float(found[1])
