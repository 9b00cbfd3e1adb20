"""Of which kind a stationary point is, from the ends of its spectrum and the flat directions."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from sounding.curvature.eigenpairs import extremes
from sounding.landscape.stationary_kernel import Kernel, Way, way_down
from sounding.landscape.stationary_search import CURVED, ROUNDING, Found
from sounding.optim.terrain import Terrain

FLAT = 0.375  # eps^FLAT of the typical curvature counts as zero: 1.4e-6 in double precision
LEFT = 1e-4  # of the scale: a longer way along flat directions says that the point is elsewhere
SLOPING = 3  # times what rounding of the parameters changes a gradient by
SHORT_WAYS = (1e-2, 3e-3)  # of the scale
MARGIN = 10  # times the rounding of an eigenvalue


@dataclasses.dataclass(frozen=True)
class Ends:
    """Both ends of a spectrum, and what is known in between."""

    smallest: float
    smallest_error: float
    smallest_bound: float  # nothing lies below
    largest: float
    largest_error: float
    largest_bound: float  # nothing lies above
    miss: float
    vectors: torch.Tensor  # (2, n) of the smallest and the largest
    values: np.ndarray | None  # (n,) all, where they are known
    converged: bool


@dataclasses.dataclass(frozen=True)
class Kind:
    """The kind, and what decided."""

    kind: str
    reason: str
    index: int  # at least
    flat: int  # -1 where it is not known
    flatness: float
    distance: float = math.nan
    way: Way | None = None


def ends(terrain: Terrain, found: Found, *, dense: bool, miss: float, most: int, seed: int) -> Ends:
    """The extreme eigenvalues at the point, from the whole matrix or by Lanczos steps."""
    if dense and found.model is not None:
        values, vectors = found.model.values, found.model.vectors
        # eigh is backward stable: each is right to a small multiple of eps ||H||
        error = MARGIN * terrain.eps * float(np.abs(values).max())
        return Ends(
            float(values[0]), error, float(values[0]) - error, float(values[-1]), error,
            float(values[-1]) + error, 0.0,
            vectors[[0, -1]], values, True,
        )  # fmt: skip
    operator = terrain.operator(found.x)
    largest, smallest = extremes(operator, miss=miss, most=most, seed=seed)
    assert smallest.vectors is not None
    assert largest.vectors is not None
    low, high = float(smallest.values[0]), float(largest.values[0])
    rounding = MARGIN * terrain.eps * max(abs(low), abs(high))
    return Ends(
        low, max(float(smallest.residuals[0]), rounding), smallest.bound - rounding,
        high, max(float(largest.residuals[0]), rounding), largest.bound + rounding, miss,
        torch.cat([smallest.vectors[:1], largest.vectors[:1]]), None,
        smallest.converged and largest.converged,
    )  # fmt: skip


def typical_curvature(terrain: Terrain, found: Found, seen: Ends) -> float:
    """The largest curvature here, or a little way off, if that is larger: what 'flat' is against.

    At a point where the Hessian vanishes (that of a monkey saddle) its own size is no measure.
    """
    here = max(abs(seen.smallest), abs(seen.largest))
    step = terrain.random(1, seed=5)[0]
    step *= CURVED * found.scale / step.norm()
    away = terrain.slope(found.x + step)[1]
    change = float((away - found.gradient).norm()) / (CURVED * found.scale)
    return max(here, change) if math.isfinite(change) else here


def lipschitz(terrain: Terrain, found: Found, seen: Ends, *, dense: bool) -> float:
    """A lower bound of rho: how fast the Hessian changes, along a few directions, over a short way.

    The change is measured whole where the matrix is, else by what it does to the end vectors.
    """
    h = max(terrain.eps**0.25, 1e-4) * found.scale
    if found.model is not None and dense:
        vectors = found.model.vectors
        values = torch.from_numpy(found.model.values).to(vectors.device, vectors.dtype)
        here = vectors.T @ (values[:, None] * vectors)
    else:
        here = terrain.operator(found.x).apply(seen.vectors)
    most = 0.0
    for direction in (seen.vectors[0], terrain.random(1, seed=11)[0]):
        x = found.x + h * direction / direction.norm()
        if dense:
            size = float(torch.linalg.matrix_norm(terrain.dense(x) - here, 2)) / h
        else:
            change = terrain.operator(x).apply(seen.vectors) - here
            size = float(change.norm(dim=1).max()) / h
        most = max(most, size) if math.isfinite(size) else most
    return most


def thresholds(found: Found, seen: Ends, rho: float, flatness: float) -> np.ndarray:
    """(n,) or (1,) below which an eigenvalue counts as zero, in size.

    It is zero within rounding below `flatness`. Besides, with c the gradient's share along its
    direction, the stationary point lies about c / value away, and over that distance the value may
    change by rho c / value: its sign there is known above sqrt(2 rho c) only.
    """
    if seen.values is None or found.model is None:
        slope = np.array([float(found.gradient.norm())])
    else:
        slope = np.abs(found.model.slope)
    return np.maximum(flatness, np.sqrt(2 * rho * slope))


def kind_of(terrain: Terrain, found: Found, seen: Ends, rho: float, curvature: float) -> Kind:
    """The kind of a point at which the gradient counts as zero."""
    flatness = terrain.eps**FLAT * curvature
    if seen.values is None:
        return _by_ends(seen, float(thresholds(found, seen, rho, flatness)[0]))
    limits = thresholds(found, seen, rho, flatness)
    index, flat = int((seen.values < -limits).sum()), np.abs(seen.values) <= limits
    known = {"flat": int(flat.sum()), "flatness": flatness, "distance": _distance(found, seen, rho)}
    if index == len(seen.values):
        said = f"every eigenvalue is below zero, the largest {seen.largest:.3g}"
        return Kind("maximum", said, index, **known)
    if not index and not flat.any():
        said = f"every eigenvalue is above zero, the smallest {seen.smallest:.4g}"
        return Kind("strict minimum", said, 0, **known)
    if not index:
        found_kind = _along_flat(terrain, found, seen, flat, known)
    else:
        said = (
            f"{index} of {len(flat)} eigenvalues are below zero, the smallest {seen.smallest:.4g}"
        )
        found_kind = Kind("strict saddle", said, index, **known)
    falling = found_kind.kind in ("strict saddle", "non-strict saddle")
    if falling and not (seen.values > limits).any() and not _rises(terrain, found, seen, flat):
        said = "the loss falls, and no way up was found along the flat directions"
        return dataclasses.replace(found_kind, kind="maximum", reason=said)
    return found_kind


def _by_ends(seen: Ends, limit: float) -> Kind:
    """Where only the ends are known; flat directions are not followed."""
    if seen.largest_bound < -limit:
        said = f"every eigenvalue is below zero, the largest {seen.largest:.3g}"
        return Kind("maximum", said, -1, 0, limit)
    if seen.smallest + seen.smallest_error < -limit:
        said = f"the smallest eigenvalue is {seen.smallest:.4g} ± {seen.smallest_error:.1g}"
        return Kind("strict saddle", said, 1, -1, limit)
    if seen.smallest_bound > limit:
        said = f"no eigenvalue lies below {seen.smallest_bound:.3g}"
        return Kind("strict minimum", f"{said}, with probability {1 - seen.miss:g}", 0, 0, limit)
    if seen.smallest_bound < -limit:
        said = (
            f"nothing is known of eigenvalues between {seen.smallest_bound:.2g} and {-limit:.2g}; "
            "give more products"
        )
        return Kind("undecided", said, 0, -1, limit)
    said = (
        f"no eigenvalue lies below {seen.smallest_bound:.2g}, with probability {1 - seen.miss:g}, "
        f"and less than {limit:.2g} counts as zero; flat directions were not followed, as the "
        "matrix is too large to be formed"
    )
    return Kind("degenerate", said, 0, -1, limit)


def _left(found: Found, seen: Ends, flat: np.ndarray) -> float:
    """How far Newton's step leads along the flat directions in which there is a slope at all."""
    assert seen.values is not None
    assert found.model is not None
    slope, value = np.abs(found.model.slope[flat]), np.abs(seen.values[flat])
    floor = max(ROUNDING * found.rounding, SLOPING * found.floor)
    sloping = (slope > floor) & (value > seen.smallest_error)
    return float((slope[sloping] / value[sloping]).max(initial=0.0))


def _distance(found: Found, seen: Ends, rho: float) -> float:
    """A stationary point lies this near, by the theorem of Newton and Kantorovich; nan: unproven.

    With the Newton step eta = ||H^-1 g|| and rho eta / min |eigenvalue| <= 1/2 there is one within
    2 eta (Kantorovich 1948). rho is an estimate, and so is the proof.
    """
    if seen.values is None or found.model is None:
        return math.nan
    least = float(np.abs(seen.values).min())
    if not least > 0:
        return math.nan
    eta = float(np.linalg.norm(found.model.slope / seen.values))
    return 2 * eta if rho * eta <= least / 2 else math.nan


def _along_flat(
    terrain: Terrain, found: Found, seen: Ends, flat: np.ndarray, known: dict[str, Any]
) -> Kind:
    """Where no eigenvalue is below zero, but some are zero: higher orders decide."""
    assert seen.values is not None
    assert found.model is not None
    count = int(flat.sum())
    words = f"{count} of {len(flat)} directions {'is' if count == 1 else 'are'} flat"
    way = way_down(_kernel(terrain, found, seen, flat, 1), found.scale)
    if not math.isnan(way.order):
        said = f"{words}, and along them the loss falls like the way to the power {way.order:.2g}"
        return Kind("non-strict saddle", said, 0, way=way, **known)
    left = _left(found, seen, flat)
    if left > LEFT * found.scale:
        said = f"{words}, and along them Newton's step is {left:.2g} long: the slope leads on"
        return Kind("undecided", said, 0, **known)
    rest = "in all that were tried the loss rises" if way.rises else "no way down was found"
    return Kind("degenerate", f"{words}; {rest}", 0, way=way, **known)


def _rises(terrain: Terrain, found: Found, seen: Ends, flat: np.ndarray) -> bool:
    """Whether a way up leads along the flat directions, where all others lead down."""
    way = way_down(_kernel(terrain, found, seen, flat, -1), found.scale)
    return not math.isnan(way.order)


def _kernel(terrain: Terrain, found: Found, seen: Ends, flat: np.ndarray, sign: int) -> Kernel:
    assert seen.values is not None
    assert found.model is not None
    vectors = found.model.vectors
    here = torch.from_numpy(flat).to(vectors.device)
    curvatures = torch.from_numpy(seen.values[~flat]).to(vectors.device, vectors.dtype)
    return Kernel(
        terrain, found.x, found.loss, vectors[here], vectors[~here], curvatures,
        float(np.linalg.norm(found.model.slope[flat])), sign,
    )  # fmt: skip


def on_kinks(
    terrain: Terrain, found: Found, seen: Ends, kind: Kind, kinks: int, rectified: int
) -> Kind:
    """What is left of a kind where some rectifiers are exactly at their kink.

    There the loss is a different smooth function on each side, and derivatives are those of one: a
    way down that the loss itself confirms remains one, all else is open.
    """
    if kind.kind in ("non-strict saddle", "undecided"):
        return kind
    if kind.kind == "strict saddle" and _falls(terrain, found, seen.vectors[0]):
        return kind
    said = (
        f"{kinks:,} of {rectified:,} rectified pre-activations are zero, where the loss has a kink "
        f"and derivatives are those of one side only (they say: {kind.kind}, {kind.reason})"
    )
    return dataclasses.replace(kind, kind="undecided", reason=said)


def _falls(terrain: Terrain, found: Found, direction: torch.Tensor) -> bool:
    """Whether the loss is lower a short and a shorter way along the direction, or against it."""
    rounding = MARGIN * terrain.eps * abs(found.loss)
    for sign in (1, -1):
        ways = [sign * length * found.scale for length in SHORT_WAYS]
        heights = [terrain.height(found.x + way * direction) for way in ways]
        if all(height < found.loss - rounding for height in heights):
            return True
    return False
