"""The loss on a line or plane through parameter space."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.landscape.directions import Plane, plane
from sounding.landscape.ground import BATCH_NORM, Ground, close
from sounding.landscape.points import Points
from sounding.objective import Loss, Objective
from sounding.optim.terrain import differing, drawing
from sounding.result import Result
from sounding.train import Progress, silent
from sounding.vectors import Pattern

AUDITED = 3  # points computed again by the reference at the end


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Surface(Result):
    """The loss on a grid: A places along the first axis, B along the second (none in 1-D)."""

    along: str  # 'filter', 'layer', 'random', 'eigen', 'gradient', 'points' or 'trajectory'
    axes: tuple[np.ndarray, ...]  # (A,) and, in 2-D, (B,): coordinates, ascending
    names: tuple[str, ...]  # (d,) what each axis is, with its unit
    values: np.ndarray  # (A,) or (A, B); nan or inf where the loss is not finite, or not measured
    measured: np.ndarray  # the same shape, bool: False where an interruption left a gap
    loss: float  # at the model's own parameters, or at the trajectory's last point
    said: str  # how the directions were made
    norms: np.ndarray  # (d,) length of a unit of each axis, in parameter space
    norm: float  # of the parameters at the centre
    trajectory: np.ndarray  # (T, d) given points on the plane, in their order
    distances: np.ndarray  # (T,) how far each is from the plane, in parameter space
    explained: np.ndarray  # (d,) share of the trajectory's variance along each axis
    batch_norm: str  # which statistics batch norms used, in words; '' without any
    samples: int  # that the loss was averaged over
    parameters: int  # n
    way: str  # how the points were computed
    deviation: float  # largest difference from one call a point, relative, where both were made
    noise: float  # difference between two calls at the centre, relative
    model: str
    seed: int
    fingerprint: str  # of centre and directions: what `resume` compares
    seconds: float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A file keeps no types of arrays of arrays.
        object.__setattr__(self, "measured", np.asarray(self.measured, dtype=bool))

    @property
    def dims(self) -> int:
        """1 for a line, 2 for a plane."""
        return len(self.axes)

    @property
    def complete(self) -> bool:
        """Whether every point was measured."""
        return bool(self.measured.all())

    @property
    def holes(self) -> int:
        """Points at which the loss was measured and is no finite number."""
        return int((self.measured & ~np.isfinite(self.values)).sum())

    @property
    def lowest(self) -> float:
        """The lowest loss that was measured; nan without any."""
        finite = self.values[np.isfinite(self.values)]
        return float(finite.min()) if finite.size else math.nan

    @property
    def highest(self) -> float:
        """The highest finite loss that was measured; nan without any."""
        finite = self.values[np.isfinite(self.values)]
        return float(finite.max()) if finite.size else math.nan

    def __str__(self) -> str:
        shape = " x ".join(str(len(a)) for a in self.axes)
        gaps = "" if self.complete else f"; {int((~self.measured).sum())} points missing"
        holes = f"; {self.holes} holes" if self.holes else ""
        return (
            f"loss {self.loss:.5g} at the centre, {self.lowest:.5g} to {self.highest:.5g} on "
            f"{shape} points ({self.said}){holes}{gaps}"
        )


def surface(
    model: nn.Module,
    loss: Loss | Objective,
    batches: Any,
    *,
    along: Any = "filter",
    dims: int = 2,
    points: int = 25,
    span: float | None = None,
    refine: int = 0,
    batch_norm: str = "mode",
    parameters: Pattern = None,
    reduction: str = "mean",
    way: str = "auto",
    resume: Surface | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Surface:
    """The loss on a line (dims=1) or plane (dims=2) through the model's parameters.

    The model is not changed. Costs points**dims forward passes over the batches, in the way that is
    fastest here (several points at once, or a folded copy of the model), and which gives the
    numbers of one call a point to 1e-5: that is checked, see `deviation`. Points are visited from
    coarse to fine; Ctrl-C returns what there is, and `resume` goes on with it.

    Args:
        model: Any module; its mode counts (see `batch_norm`).
        loss: A function of (output, target), or an :class:`Objective` of (model, batch).
        batches: One batch as a pair of tensors; or several, in a list or a DataLoader, read once.
        along: 'filter' (random directions, filter-normalised: Li et al. 2018, arXiv:1712.09913),
            'layer', 'random', 'eigen' (eigenvectors of the Hessian's largest and smallest
            eigenvalue), 'gradient'; or a list of points, state dicts or flat vectors: the line
            through two, the plane through three (the model's own parameters are the first where
            one is missing), the principal plane of more, with the path drawn on it.
        dims: 1 or 2.
        points: Along each axis, 3 at least.
        span: How far to go either way; in units of the directions, by default 1 for random ones.
        refine: Further grid lines, one after the other put where neighbours differ most.
        batch_norm: 'mode' (as model.training says), 'running' (the model's statistics), 'batch'
            (those of each batch), 'recalibrated' (computed anew at each point, over all batches).
        parameters: Names or patterns; the others stay.
        reduction: 'mean' or 'sum': what the loss does over the samples of a batch.
        way: 'auto', or 'plain', 'folded', 'stacked' to leave no choice.
        resume: An earlier, interrupted surface of the same arguments.
        seed: Of random directions, and of what passes draw: dropout uses one fixed mask.
        progress: Told how many points are done.

    Raises:
        ValueError: If an argument makes no sense, the model cannot take a batch, the loss is no
            single real number or is not finite at the centre, or `resume` is of another plane.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> x = torch.eye(2)
        >>> line = surface(net, nn.functional.mse_loss, (x, net(x).detach()), dims=1, points=5)
        >>> bool(line.values.argmin() == 2)  # the model fits its own output
        True
    """
    started = time.perf_counter()
    if not isinstance(points, int) or points < 3:
        raise ValueError(f"points is {points}; an axis needs a whole number, 3 at least")
    if way not in ("auto", "plain", "folded", "stacked"):
        raise ValueError(f"way is {way!r}; there are auto, plain, folded and stacked")
    if refine < 0:
        raise ValueError(f"refine is {refine}; it is how many grid lines to add")
    ground = Ground(
        model, loss, batches, parameters=parameters, reduction=reduction, batch_norm=batch_norm,
        seed=seed,
    )  # fmt: skip
    with ground.prepared():
        at_model = ground.first()
        found = plane(ground, along, dims, span, seed=seed, progress=progress)
        survey = _Survey(ground, found, way, progress)
        survey.look_around(at_model)
        survey.go(points, refine, resume)
    return survey.result(type(model).__name__, seed, time.perf_counter() - started)


class _Survey:
    """One visit of a grid."""

    def __init__(self, ground: Ground, found: Plane, way: str, progress: Progress) -> None:
        self.ground, self.plane, self.progress = ground, found, progress
        self.points = Points(ground, found.centre, found.directions, way=way)
        self.notes = [*ground.notes, *found.notes]
        digest = hashlib.sha256(found.centre.cpu().numpy().tobytes())
        digest.update(found.directions.cpu().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        self.axes: list[np.ndarray] = []
        self.values = np.zeros(0)
        self.measured = np.zeros(0, dtype=bool)
        self.loss = self.noise = 0.0

    def look_around(self, at_model: float) -> None:
        """Twice at the centre: is it a finite number, and the same one?"""
        zero = np.zeros((1, len(self.plane.directions)))
        with torch.no_grad():
            second = float(self.ground.loss(self.points.at(zero)[0]))
            apart = self.ground.drawn(at_model)
            first = at_model
            if self.plane.centre is not self.ground.centre:
                first = float(self.ground.loss(self.points.at(zero)[0]))
        if not math.isfinite(first):
            raise ValueError(
                f"the loss at the centre is {first}, so there is no surface around it; run "
                "sounding.checkup on the model to see which call made it"
            )
        self.loss, self.noise = first, abs(first - second) / max(abs(first), 1e-12)
        if not close(first, second):
            self.notes.append(differing(first, second))
        self._look_deeper(apart)

    def _look_deeper(self, apart: float | None) -> None:
        """What a reader must know: draws of one seed, parameters without effect."""
        if apart is not None:
            self.notes.append(drawing(self.ground.seed, apart))
        names, every = self.ground.unreached(), self.ground.names
        if names:
            self.notes.append(
                f"the loss does not depend on {len(names)} of {len(every)} parameters ({names[0]}"
                f"{', ...' if len(names) > 1 else ''}): moves along them change nothing"
            )

    def go(self, points: int, refine: int, resume: Surface | None) -> None:
        """Measure the grid, then the further lines; what an interruption leaves is kept."""
        plane = self.plane
        self.axes = [
            np.linspace(a, b, points) for a, b in zip(plane.lows, plane.highs, strict=True)
        ]
        shape = tuple(map(len, self.axes))
        self.values, self.measured = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        added = 0 if resume is None else self._take(resume)
        try:
            self._visit()
            for _ in range(added, refine):
                self._add_line()
                self._visit()
        except KeyboardInterrupt:
            done, total = int(self.measured.sum()), self.measured.size
            self.notes.append(
                f"interrupted after {done} of {total} points; resume=<this surface> goes on"
            )

    def _take(self, earlier: Surface) -> int:
        """Go on with what is measured there; how many grid lines it has beyond the planned ones."""
        if earlier.fingerprint != self.fingerprint:
            raise ValueError(
                "the surface to resume is of another plane: the parameters, the directions or the "
                "seed have changed; start anew without resume"
            )
        if not close(earlier.loss, self.loss):
            raise ValueError(
                f"the surface to resume had a loss of {earlier.loss:.6g} at its centre, now it is "
                f"{self.loss:.6g}: the batches or the mode have changed"
            )
        planned = self.axes
        if not all(np.isin(a, b).all() for a, b in zip(planned, earlier.axes, strict=True)):
            raise ValueError(
                "the surface to resume has another grid: give the same points and span, or start "
                "anew without resume"
            )
        self.axes = [np.array(a) for a in earlier.axes]
        self.values, self.measured = earlier.values.copy(), earlier.measured.copy()
        return sum(map(len, self.axes)) - sum(map(len, planned))

    def _visit(self) -> None:
        """All that is missing, from coarse to fine."""
        todo = _coarse_first(np.argwhere(~self.measured))
        if not len(todo):
            return
        grid = np.stack([axis[todo[:, i]] for i, axis in enumerate(self.axes)], axis=1)
        first = 0
        if self.points.way is self.points.plain and len(todo) > 2:
            first = 2
            self._put(todo[:2], self.points.choose(grid[:2], len(todo)))
        total = self.measured.size
        for i, losses in self.points.losses(grid[first:]):
            at = todo[first + i : first + i + len(losses)]
            self._put(at, losses)
            self.progress("points of the surface", int(self.measured.sum()), total)
        self._audit(todo, grid)

    def _put(self, at: np.ndarray, losses: list[float]) -> None:
        index = tuple(at[: len(losses)].T)
        self.values[index], self.measured[index] = losses, True

    def _audit(self, todo: np.ndarray, grid: np.ndarray) -> None:
        """Some points again by the reference; if one differs, all of them."""
        some = np.random.default_rng(0).permutation(len(todo))[:AUDITED]
        losses = [float(self.values[tuple(todo[i])]) for i in some]
        if self.points.audit(grid[some], losses):
            return
        self.notes.append(
            f"{self.points.way.name} gave other numbers than one call a point on a random sample; "
            "every point was computed again, one call a point"
        )
        self.points.way = self.points.plain
        for i, losses in self.points.losses(grid):
            self._put(todo[i : i + len(losses)], losses)

    def _add_line(self) -> None:
        """A grid line half way between the two neighbours that differ most."""
        best, where = -1.0, (0, 0)
        finite = np.where(np.isfinite(self.values), self.values, np.nan)
        for axis in range(len(self.axes)):
            steps = np.abs(np.diff(finite, axis=axis))
            other = tuple(i for i in range(steps.ndim) if i != axis)
            with np.errstate(all="ignore"):
                size = np.nan_to_num(steps).max(axis=other) if other else np.nan_to_num(steps)
            i = int(size.argmax())
            if size[i] > best:
                best, where = float(size[i]), (axis, i)
        axis, i = where
        middle = self.axes[axis][i : i + 2].mean()
        self.axes[axis] = np.insert(self.axes[axis], i + 1, middle)
        self.values = np.insert(self.values, i + 1, np.nan, axis=axis)
        self.measured = np.insert(self.measured, i + 1, False, axis=axis)

    def result(self, model: str, seed: int, seconds: float) -> Surface:
        plane, ground = self.plane, self.ground
        if self.points.failure:
            self.notes.append(f"holes where a pass raised: {self.points.failure}")
        said = BATCH_NORM[ground.batch_norm] if ground.norms() else ""
        if said and ground.batch_norm == "mode":
            training = any(m.training for m in ground.norms())
            said += ": " + BATCH_NORM["batch" if training else "running"].removeprefix(
                "batch norm "
            )
        return Surface(
            along=plane.along,
            axes=tuple(self.axes),
            names=plane.names,
            values=self.values,
            measured=self.measured,
            loss=self.loss,
            said=plane.said,
            norms=plane.directions.double().norm(dim=1).cpu().numpy(),
            norm=float(plane.centre.double().norm()),
            trajectory=plane.trajectory,
            distances=plane.distances,
            explained=plane.explained,
            batch_norm=said,
            samples=ground.samples,
            parameters=ground.size,
            way=self.points.way.name,
            deviation=self.points.deviation,
            noise=self.noise,
            model=model,
            seed=seed,
            fingerprint=self.fingerprint,
            seconds=seconds,
            notes=tuple(self.notes),
        )


def _coarse_first(index: np.ndarray) -> np.ndarray:
    """(P, d) grid indices, those of the coarsest grid first, so that a part is a picture too.

    An index that is divisible by 2^k belongs to the grid of every 2^k-th line; a point comes with
    the finest of its lines.
    """
    low = np.where(index == 0, 1 << 20, index & -index)  # the largest power of two in it
    return index[np.argsort(-low.min(axis=1), kind="stable")]
