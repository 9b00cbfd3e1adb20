"""Find a stationary point near a model's parameters, and say with a certificate what it is."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import torch
from torch import nn

from sounding.landscape.stationary_kernel import Way
from sounding.landscape.stationary_kind import (
    Ends,
    Kind,
    ends,
    kind_of,
    lipschitz,
    on_kinks,
    typical_curvature,
)
from sounding.landscape.stationary_point import StationaryPoint, named
from sounding.landscape.stationary_search import DENSE, ROUNDING, Found, Search
from sounding.objective import Loss, Objective
from sounding.optim.terrain import Terrain
from sounding.train import Progress, silent

POLISH = 20  # steps
CLOSE = 0.01  # of the scale


def stationary(
    model: nn.Module,
    loss: Loss | Objective | None = None,
    batches: Any = None,
    *,
    search: bool = True,
    tol: float | None = None,
    eps: float | None = None,
    dense: bool | None = None,
    most: int = 200,
    miss: float = 1e-3,
    products: int = 400,
    seed: int = 0,
    progress: Progress = silent,
) -> StationaryPoint:
    """A stationary point near the model's parameters, of any index, and of which kind it is.

    The norm of the gradient is minimised (damped Gauss-Newton steps), which minima, saddles and
    maxima attract alike; the model itself is not changed, and
    :meth:`StationaryPoint.load_into` writes what was found into it. Where only the gradient's norm
    became stationary (H g = 0, g != 0) the kind is 'not stationary' and the reason says so.

    Up to 400 parameters the whole Hessian is formed; beyond, Lanczos steps give its ends with
    residuals, and the probability of a missed eigenvalue.

    Args:
        model: Any module; one whose forward pass returns the loss needs nothing else.
        loss: A function of (output, target), or an :class:`Objective` of (model, batch).
        batches: As for :func:`hessian`.
        search: Whether to search; else the model's own parameters are classified.
        tol: How far from a stationary point, relative to the scale of the parameters, a point may
            be; the square root of the precision by default, 1.5e-8 in float64.
        eps: Of the second-order test ||g|| <= eps, smallest >= -sqrt(rho eps) (Nesterov & Polyak
            2006); by default the gradient that counts as zero.
        dense: Whether to form the whole Hessian; by default up to 400 parameters.
        most: Steps of the search at most.
        miss: Probability of a missed eigenvalue that is put up with.
        products: Of Lanczos steps for the ends of the spectrum, at most.
        seed: Of dropout masks and random vectors.
        progress: Told the gradient's norm, the steps made, and `most`.

    Raises:
        ValueError: As :func:`hessian`; or if the loss is not finite at the start.

    Example:
        >>> class MonkeySaddle(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.x = nn.Parameter(torch.tensor([0.3, 0.2], dtype=torch.float64))
        ...
        ...     def forward(self):
        ...         return self.x[0] ** 3 - 3 * self.x[0] * self.x[1] ** 2
        >>> stationary(MonkeySaddle()).kind
        'non-strict saddle'
    """
    begun = time.perf_counter()
    terrain = Terrain(model, loss, batches, seed=seed)
    dense = terrain.size <= DENSE if dense is None else dense
    near = terrain.eps**0.5 if tol is None else tol
    with terrain.open():
        start = terrain.here()
        walk = Search(terrain, start, tol=near, dense=dense, most=most, progress=progress)
        found = walk.run() if search else walk.found()
        point, _ = _judged(
            terrain, found, tol=near, eps=eps, dense=dense, miss=miss, products=products,
            seed=seed, begun=begun,
        )  # fmt: skip
    return point


def certified(
    terrain: Terrain, x: torch.Tensor, *, tol: float, eps: float
) -> tuple[StationaryPoint, torch.Tensor, torch.Tensor | None]:
    """The kind of a point where gradients up to `eps` count as zero, and (n,) the point.

    The third is where a way down along flat directions leads, if there is one.

    It is polished first: the stationary point next to it takes its place, if that is nearer than
    CLOSE of the scale and not higher. Call it inside ``terrain.open()``.
    """
    begun, dense = time.perf_counter(), terrain.size <= DENSE
    walk = Search(
        terrain, x, tol=terrain.eps**0.5, dense=dense, most=POLISH if dense else 3,
        progress=silent, zero=eps,
    )  # fmt: skip
    found, loss = walk.run(leaps=0), walk.loss_at_start
    higher = found.loss > loss + 16 * terrain.eps * abs(loss)
    if higher or found.moved > CLOSE * found.scale:
        found = Search(
            terrain, x, tol=tol, dense=dense, most=0, progress=silent, zero=eps
        ).found()  # fmt: skip
    point, way = _judged(
        terrain, found, tol=tol, eps=eps, dense=dense, miss=1e-3, products=400, seed=0,
        begun=begun,
    )  # fmt: skip
    return point, found.x, None if way is None else way.end


def _judged(
    terrain: Terrain, found: Found, *, tol: float, eps: float | None, dense: bool, miss: float,
    products: int, seed: int, begun: float,
) -> tuple[StationaryPoint, Way | None]:  # fmt: skip
    seen = ends(terrain, found, dense=dense, miss=miss, most=products, seed=seed)
    rho = lipschitz(terrain, found, seen, dense=dense)
    curvature = typical_curvature(terrain, found, seen)
    kind = kind_of(terrain, found, seen, rho, curvature) if found.stationary else _no_kind(found)
    steady, caveats = terrain.caveats(found.x)
    if not steady:
        said = "the loss is another one at every call, so its derivatives say nothing of one point"
        kind = dataclasses.replace(kind, kind="undecided", reason=said, way=None)
    kinks = terrain.kinks(found.x)
    if kinks[0] and not terrain.smooth(found.x):
        kind = on_kinks(terrain, found, seen, kind, *kinks)
    norm, way = float(found.gradient.norm()), kind.way
    size = max(abs(seen.smallest), abs(seen.largest))
    bound = max(tol * size * found.scale, ROUNDING * found.rounding, found.zero)
    eps = max(bound, tol * curvature * found.scale) if eps is None else eps
    point = StationaryPoint(
        kind=kind.kind,
        reason=kind.reason,
        loss=found.loss,
        gradient_norm=norm,
        gradient_bound=bound,
        gradient_noise=gradient_noise(terrain, found.x),
        smallest=seen.smallest,
        smallest_error=seen.smallest_error,
        smallest_bound=seen.smallest_bound,
        largest=seen.largest,
        largest_error=seen.largest_error,
        miss=seen.miss,
        index=kind.index,
        flat=kind.flat,
        exact=seen.values is not None,
        flatness=kind.flatness,
        scale=found.scale,
        rho=rho,
        eps=eps,
        second_order=_second_order(seen, norm, rho, eps),
        distance=kind.distance,
        order=math.nan if way is None else way.order,
        fall=0.0 if way is None else way.fall,
        kinks=kinks[0],
        rectified=kinks[1],
        moved=found.moved,
        steps=found.steps,
        gradients=terrain.gradients,
        products=terrain.products,
        seconds=time.perf_counter() - begun,
        notes=(*caveats, *_notes(found, kinks)),
        model=type(terrain.subject.model).__name__,
        parameters=named(terrain.subject.names, terrain.subject.layout.split(found.x)),
        directions=seen.vectors.double().cpu().numpy(),
    )
    return point, way


def gradient_noise(terrain: Terrain, x: torch.Tensor) -> float:
    """The standard error of the mean gradient over the batches; nan for a single batch."""
    parts = terrain.slopes_by_part(x)
    if len(parts) < 2:
        return math.nan
    terrain.gradients += 1
    weights = torch.tensor([weight for weight, _, _ in parts], dtype=torch.float64)
    gradients = torch.stack([gradient for _, _, gradient in parts]).double()
    weights = (weights / weights.sum()).to(gradients.device)
    off = gradients - weights @ gradients
    count = len(parts)
    return float(((weights**2) @ off.square().sum(1) * count / (count - 1)).sqrt())


def _no_kind(found: Found) -> Kind:
    norm = float(found.gradient.norm())
    if found.alone:
        said = (
            f"only the gradient's norm is stationary here: the gradient is {norm:.3g}, and the "
            "Hessian times it is next to zero"
        )
    else:
        said = f"the gradient is {norm:.3g}"
    return Kind("not stationary", said, 0, -1, math.nan)


def _second_order(seen: Ends, norm: float, rho: float, eps: float) -> bool | None:
    """||g|| <= eps and smallest >= -sqrt(rho eps); None where the smallest is not known so well."""
    least = -math.sqrt(rho * eps)
    if norm > eps or seen.smallest + seen.smallest_error < least:
        return False
    return True if seen.values is not None or seen.smallest_bound >= least else None


def _notes(found: Found, kinks: tuple[int, int]) -> tuple[str, ...]:
    if not kinks[1]:
        return ()
    return (
        f"of {kinks[1]:,} rectified pre-activations {kinks[0]:,} are on a kink: the Hessian is "
        "that of the smooth piece around this point, as far as no pre-activation changes its "
        "sign, and says nothing of what lies behind",
    )
