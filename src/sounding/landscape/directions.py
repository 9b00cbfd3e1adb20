"""Which line or plane is looked at: directions, their normalisation, and what they are called.

Letters: n parameters in all, d dimensions, T points of a trajectory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.hessian import hessian
from sounding.landscape.ground import Ground
from sounding.train import Progress, silent
from sounding.vectors import normal

ALONG = {
    "filter": "random, each filter as long as the weights' (Li et al. 2018)",
    "layer": "random, each weight tensor as long as the model's",
    "random": "random, as long as the whole parameter vector",
    "eigen": "eigenvectors of the Hessian",
    "gradient": "the gradient, and a random direction orthogonal to it",
}
MARGIN = 0.25  # of the extent of given points, beyond them on either side


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """A line or plane through parameter space: ``centre + coordinates @ directions``."""

    along: str
    centre: torch.Tensor  # (n,)
    directions: torch.Tensor  # (d, n)
    names: tuple[str, ...]  # (d,) what each axis is
    lows: tuple[float, ...]  # (d,) where each axis starts
    highs: tuple[float, ...]  # (d,)
    said: str  # one sentence
    trajectory: np.ndarray  # (T, d) given points, projected; (0, d) without any
    distances: np.ndarray  # (T,) of each from the plane
    explained: np.ndarray  # (d,) share of the points' variance along each axis; (0,) if not by PCA
    notes: tuple[str, ...] = ()


def plane(
    ground: Ground,
    along: Any,
    dims: int,
    span: float | None,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Plane:
    """The line (dims=1) or plane (dims=2) that `along` names; see :func:`sounding.surface`.

    Raises:
        ValueError: If it is unknown, has too few points, or the points do not fit the model.
    """
    if dims not in (1, 2):
        raise ValueError(f"dims is {dims}; a surface has 1 or 2")
    if span is not None and not (math.isfinite(span) and span > 0):
        raise ValueError(f"span is {span}; give a positive number, how far to go either way")
    if not isinstance(along, str):
        return _through(ground, along, dims, span)
    if along not in ALONG:
        raise ValueError(
            f"along is {along!r}; there are {', '.join(ALONG)}, or a list of points (state dicts "
            "or flat vectors)"
        )
    if along == "eigen":
        return _eigen(ground, dims, span, seed, progress)
    if along == "gradient":
        return _gradient(ground, dims, span, seed)
    rows = torch.stack([_normalised(ground, d, along) for d in _drawn(ground, dims, seed)])
    reach = 1.0 if span is None else span
    relative = rows.norm(dim=1) / ground.centre.norm()
    unit = {"filter": "filter norms", "layer": "layer norms", "random": "norms of the parameters"}
    names = tuple(f"random direction {i + 1}, in {unit[along]}" for i in range(dims))
    said = f"{ALONG[along]}; biases and scales stay"
    if along == "random":
        said = ALONG[along]
    sizes = " and ".join(f"{float(r):.2g}" for r in relative)
    said += f"; one unit moves the parameters by {sizes} times their norm"
    return _square(along, ground, rows, names, reach, said)


def _drawn(ground: Ground, count: int, seed: int) -> torch.Tensor:
    return normal(count, ground.size, seed=seed, dtype=ground.dtype, device=ground.device)


def _normalised(ground: Ground, direction: torch.Tensor, how: str) -> torch.Tensor:
    """(n,) scaled to the model's own size, filter by filter, tensor by tensor, or as a whole.

    Biases and the scales of normalisations (tensors of one dimension) get zero, as by Li et al.:
    their sizes say nothing of the effect of a change.
    """
    if how == "random":
        return direction * (ground.centre.norm() / direction.norm())
    scaled = []
    split = ground.layout.split
    for d, w in zip(split(direction), split(ground.centre), strict=True):
        if w.ndim < 2:
            scaled.append(torch.zeros_like(d))
        elif how == "filter":
            over = tuple(range(1, w.ndim))
            size = torch.linalg.vector_norm(w, dim=over, keepdim=True)
            own = torch.linalg.vector_norm(d, dim=over, keepdim=True)
            scaled.append(d * (size / own.clamp_min(1e-30)))
        else:
            scaled.append(d * (w.norm() / d.norm().clamp_min(1e-30)))
    flat = ground.layout.join(scaled)
    if not flat.any():
        raise ValueError(
            f"{how} normalisation leaves nothing to move: no parameter has two dimensions, or all "
            "are zero; use along='random'"
        )
    return flat


def _square(
    along: str,
    ground: Ground,
    rows: torch.Tensor,
    names: tuple[str, ...],
    reach: float,
    said: str,
    notes: tuple[str, ...] = (),
) -> Plane:
    """A plane around the model that reaches as far in every direction."""
    d = len(rows)
    return Plane(
        along, ground.centre, rows, names, (-reach,) * d, (reach,) * d, said,
        np.zeros((0, d)), np.zeros(0), np.zeros(0), notes,
    )  # fmt: skip


def _eigen(ground: Ground, dims: int, span: float | None, seed: int, progress: Progress) -> Plane:
    """The largest eigenvalue's eigenvector; and the smallest's in two dimensions."""
    operator = hessian(
        ground.model, ground.objective, [p.batch for p in ground.parts],
        parameters=list(ground.names), reduction=ground.reduction, seed=ground.seed,
    )  # fmt: skip
    found = [
        eigenpairs(operator, which=which, seed=seed, progress=progress)
        for which in ("largest", "smallest")[:dims]
    ]
    notes = tuple(f"{one.which} eigenvector: {one.note}" for one in found if not one.converged)
    rows = torch.stack([_vector(one.vectors) for one in found]).to(ground.device, ground.dtype)
    rows = torch.linalg.qr(rows.T.double()).Q.T.to(ground.dtype)  # both are orthogonal up to errors
    values = [float(one.values[0]) for one in found]
    names = tuple(
        f"{one.which} eigenvalue, {v:.4g} (along its vector)"
        for v, one in zip(values, found, strict=True)
    )
    return _square(
        "eigen", ground, rows, names, _quadratic_reach(ground, values[0]) if span is None else span,
        f"unit {'eigenvectors' if dims == 2 else 'eigenvector'} of the Hessian", notes,
    )  # fmt: skip


def _vector(vectors: torch.Tensor | None) -> torch.Tensor:
    assert vectors is not None
    return vectors[0]


def _quadratic_reach(ground: Ground, value: float) -> float:
    """Where the loss would have doubled if its curvature stayed; at most a tenth of the norm."""
    loss = abs(ground.first())
    most = 0.1 * float(ground.centre.norm()) or 1.0
    if not (loss > 0 and value):
        return most
    return min(math.sqrt(2 * loss / abs(value)), most)


def _gradient(ground: Ground, dims: int, span: float | None, seed: int) -> Plane:
    gradient = ground.gradient()
    size = float(gradient.norm())
    if not (size > 0 and math.isfinite(size)):
        raise ValueError(
            f"the gradient's norm is {size}, so it has no direction; use along='filter' or 'eigen'"
        )
    rows = [gradient / size]
    names = [f"unit gradient (norm {size:.3g}); the loss falls to the left"]
    if dims == 2:
        other = _drawn(ground, 1, seed)[0]
        other = other - (other @ rows[0]) * rows[0]
        rows.append(other / other.norm())
        names.append("random unit direction, orthogonal to it")
    reach = 0.1 * float(ground.centre.norm()) or 1.0 if span is None else span
    return _square("gradient", ground, torch.stack(rows), tuple(names), reach, ALONG["gradient"])


# -- given points ---------------------------------------------------------------------------------


def _through(ground: Ground, points: Any, dims: int, span: float | None) -> Plane:
    """The line or plane through given points, or the principal one of a trajectory."""
    if isinstance(points, Mapping | torch.Tensor | np.ndarray):
        points = [points]
    vectors = [flat(ground, point) for point in points]
    if len(vectors) == dims:
        vectors = [ground.centre, *vectors]
    if len(vectors) < dims + 1:
        raise ValueError(
            f"a {'line' if dims == 1 else 'plane'} needs {dims + 1} points (or {dims} beside the "
            f"model's own), but there are {len(vectors)}"
        )
    if len(vectors) == dims + 1:
        return _spanned(torch.stack(vectors), dims, span)
    return _principal(torch.stack(vectors), dims, span)


def flat(ground: Ground, point: Any) -> torch.Tensor:
    """(n,) a state dict, or a flat vector, as the ground's parameters.

    Raises:
        ValueError: If names or sizes do not fit.
    """
    if isinstance(point, torch.nn.Module):
        point = {name: p.detach() for name, p in point.named_parameters()}
    if isinstance(point, Mapping):
        missing = [name for name in ground.names if name not in point]
        if missing:
            raise ValueError(
                f"a given point lacks {missing[0]!r} ({len(missing)} of {len(ground.names)} "
                f"parameters); it has {', '.join(map(str, list(point)[:4]))}, ...: pass the "
                "state_dict() of the same architecture"
            )
        tensors = [torch.as_tensor(point[name]).detach() for name in ground.names]
        for (name, p), t in zip(ground.names.items(), tensors, strict=True):
            if t.shape != p.shape:
                raise ValueError(
                    f"{name} is {tuple(t.shape)} in a given point, {tuple(p.shape)} in the model"
                )
        vector = ground.vector(tensors)
    else:
        vector = torch.as_tensor(point).detach().to(ground.device, ground.dtype).reshape(-1)
    if vector.numel() != ground.size:
        raise ValueError(f"a given point has {vector.numel()} numbers; the model has {ground.size}")
    if not vector.isfinite().all():
        raise ValueError("a given point holds NaN or infinity; leave that checkpoint out")
    return vector


def _spanned(points: torch.Tensor, dims: int, span: float | None) -> Plane:
    """Through two or three points: the first is the origin, distances are Euclidean."""
    centre, rows = points[0], []
    for point in points[1:]:
        d = point - centre
        for row in rows:
            d = d - (d @ row) * row
        size = float(d.norm())
        if size <= 1e-6 * float((point - centre).norm()) or size == 0:
            raise ValueError(
                "the given points coincide or lie on one line; they span no such plane"
            )
        rows.append(d / size)
    names = ("distance from the first point to the second", "distance from their line")[:dims]
    said = f"through {('two', 'three')[dims - 1]} given points; Euclidean distance"
    return _with_points("points", points, torch.stack(rows), span, names, said, np.zeros(0))


def _principal(points: torch.Tensor, dims: int, span: float | None) -> Plane:
    """The principal plane of a trajectory, through its last point (Li et al. 2018, section 7)."""
    away = (points - points.mean(0)).double()
    gram = away @ away.T  # (T, T): there are far fewer points than parameters
    values, vectors = torch.linalg.eigh(gram)
    order = torch.argsort(values, descending=True)[:dims]
    if not float(values[order[-1]]) > 1e-12 * float(values.sum()):
        raise ValueError(
            f"the given points do not span {dims} dimensions; use dims={dims - 1 or 1}"
        )
    rows = (vectors[:, order].T @ away) / values[order].sqrt()[:, None]
    explained = (values[order] / values.sum()).cpu().numpy()
    names = tuple(
        f"principal direction {i + 1} ({100 * e:.1f} % of the variance)"
        for i, e in enumerate(explained)
    )
    return _with_points(
        "trajectory", points.flip(0), rows.to(points.dtype), span, names,
        f"principal directions of {len(points)} points, through the last one; Euclidean distance",
        explained,
    )  # fmt: skip


def _with_points(
    along: str,
    points: torch.Tensor,
    rows: torch.Tensor,
    span: float | None,
    names: tuple[str, ...],
    said: str,
    explained: np.ndarray,
) -> Plane:
    """A plane through the first of `points`, wide enough for all of them."""
    away = (points - points[0]).double()
    projected = away @ rows.double().T  # (T, d)
    distances = (away - projected @ rows.double()).norm(dim=1).cpu().numpy()
    projected = projected.cpu().numpy()
    if along == "trajectory":  # in the order of time
        projected, distances = projected[::-1].copy(), distances[::-1].copy()
    else:
        distances = np.zeros(len(points))
    low, high = projected.min(0), projected.max(0)
    room = MARGIN * np.maximum(high - low, 0.2 * (high - low).max())
    if span is not None:
        low, high, room = np.minimum(low, -span), np.maximum(high, span), 0 * room
    return Plane(
        along, points[0], rows, names,
        tuple(map(float, low - room)), tuple(map(float, high + room)), said,
        projected, distances, explained,
    )  # fmt: skip
