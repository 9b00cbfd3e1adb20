"""Everything about one point of a loss at once: what kind it is, its spectrum, its surroundings."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
from torch import nn

from sounding.curvature.hessian import hessian
from sounding.curvature.spectrum import Spectrum, spectrum
from sounding.landscape.escape import Escape, escape
from sounding.landscape.stationary import stationary
from sounding.landscape.stationary_point import StationaryPoint
from sounding.landscape.surface import Surface, surface
from sounding.objective import Loss, Objective
from sounding.result import Result
from sounding.train import Progress, silent
from sounding.vectors import trainable

KEPT = 2**26  # numbers of a path that are held at most, half a gigabyte
STOPS = 40  # points of a path that span its plane
OTHER = "eigen"  # the plane of the largest and the smallest curvature


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Atlas(Result):
    """What `atlas` found; a page shows its parts one below the other."""

    point: StationaryPoint  # the model's own parameters, classified
    spectrum: Spectrum
    surface: Surface
    escape: Escape | None  # where one was asked for
    seconds: float

    @property
    def parts(self) -> tuple[Result, ...]:
        """In the order to be read."""
        way = (self.escape,) if self.escape is not None else ()
        return (self.surface, self.point, self.spectrum, *way)

    def __str__(self) -> str:
        return "\n".join(str(part) for part in self.parts)


def atlas(
    model: nn.Module,
    loss: Loss | Objective,
    batches: Any,
    *,
    along: Any = OTHER,
    escaping: bool = False,
    points: int = 25,
    span: float | None = None,
    batch_norm: str = "mode",
    seed: int = 0,
    progress: Progress = silent,
) -> Atlas:
    """The point where a model stands: its kind, its spectrum, its surface, and the way off it.

    Costs the sum of its parts: some hundred Hessian products, points**2 forward passes, and with
    `escaping` the steps of :func:`sounding.escape`. The model is not changed.

    Args:
        model: Any module.
        loss: A function of (output, target), or an :class:`Objective` of (model, batch).
        batches: As for :func:`sounding.surface`.
        along: The surface's directions; with `escaping` the plane is that of the way instead.
        escaping: Whether to leave the point, if it is no minimum, and draw the way.
        points: Along each axis of the surface.
        span: As for :func:`sounding.surface`.
        batch_norm: As for :func:`sounding.surface`.
        seed: Of directions, noise and random starts.
        progress: Told how far each part is.

    Raises:
        ValueError: As :func:`sounding.surface` and :func:`sounding.hessian`.
    """
    started = time.perf_counter()
    found = stationary(model, loss, batches, search=False, seed=seed, progress=progress)
    numbers = spectrum(
        hessian(model, loss, batches), with_trace=False, seed=seed, progress=progress
    )
    way, through = None, along
    if escaping:
        size = sum(p.numel() for p in trainable(model).values())
        way = escape(
            model, loss, batches, steps=max(2, min(500, KEPT // size)), keep_path=True,
            seed=seed, progress=progress,
        )  # fmt: skip
        through = _stops(way, along)
    drawn = surface(
        model, loss, batches, along=through, points=points, span=span, batch_norm=batch_norm,
        seed=seed, progress=progress,
    )  # fmt: skip
    return Atlas(
        point=found, spectrum=numbers, surface=drawn, escape=way,
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _stops(way: Escape, along: Any) -> Any:
    """Points of the way that span a plane, from its start to its end; `along` where none do."""
    if way.path is None or len(way.path) < 3:
        return along
    chosen = np.unique(np.linspace(0, len(way.path) - 1, STOPS).round().astype(int))
    stops = way.path[chosen]
    away = stops - stops.mean(0)
    values = np.linalg.svd(away, compute_uv=False)
    return list(stops) if len(stops) > 3 and values[1] > 1e-5 * values[0] else along
