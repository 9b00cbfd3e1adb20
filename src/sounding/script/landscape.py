"""The landscape of a case file's network at a checkpoint: what `sounding landscape` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sounding.curvature.pieces import listed
from sounding.curvature.setting import samples, sliced
from sounding.landscape.atlas import atlas
from sounding.landscape.checkpoints import load_state, set_state
from sounding.landscape.directions import ALONG
from sounding.landscape.ground import NORMS
from sounding.landscape.paths import KINDS, path
from sounding.landscape.surface import Surface, surface
from sounding.result import Result
from sounding.script.casefile import load_case
from sounding.train import Progress, check_model, seeded, silent

WAYS = (*ALONG, "path", "trajectory")


def landscape_target(
    case_file: str,
    *,
    at: str | None = None,
    along: str | None = None,
    to: Sequence[str] = (),
    kind: str = "line",
    match: bool = False,
    dims: int = 2,
    points: int = 25,
    span: float | None = None,
    refine: int = 0,
    batch_norm: str | None = None,
    limit: int = 2048,
    resume: Result | None = None,
    whole: bool = False,
    escape: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Result:
    """The surface around a checkpoint, or the path from it to another; in evaluation mode.

    Args:
        case_file: Defines a `case`.
        at: Checkpoint; without one the network is as `case.build` makes it from `seed`.
        along: One of `WAYS`; None: 'filter', or 'eigen' with `whole`;
            'path' and 'trajectory' need `to`.
        to: Checkpoint at the other end; all of a trajectory, in their order.
        kind: Of the path.
        match: Whether to permute the other end's units first.
        dims: Of the surface.
        points: Along each axis.
        span: As of :func:`sounding.surface`.
        refine: Further grid lines.
        batch_norm: As of :func:`sounding.surface`; by default recalibrated without a checkpoint.
        limit: Samples of the case's batches that are used, from the first on.
        resume: An interrupted surface to go on with.
        whole: Whether to classify the point and compute its spectrum as well.
        escape: As `whole`, and the point is left if it is a saddle; the plane is that of the way.
        seed: Of the network, where it is made anew, and of random directions.
        progress: Told how far it is.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If an argument makes no sense or a checkpoint does not fit.
    """
    along = along or ("eigen" if whole or escape else "filter")
    _check(along, to, kind, limit, resume)
    if whole or escape:
        _check_whole(along, dims, resume, refine)
    case = load_case(case_file)
    with seeded(seed):
        model = case.build()
        check_model(model)
        if at is not None:
            set_state(model, load_state(at), at)
        batches = _first(case.batches, limit)
    model.eval()
    if batch_norm is None and at is None and any(isinstance(m, NORMS) for m in model.modules()):
        batch_norm = "recalibrated"
    others = [_other(model, name) for name in to]
    if along == "path":
        return path(
            model, others[0], case.loss, batches, kind=kind, match=match, points=points,
            batch_norm=batch_norm, seed=seed, progress=progress,
        )  # fmt: skip
    if whole or escape:
        return atlas(
            model, case.loss, batches, along=along, escaping=escape, points=points, span=span,
            batch_norm=batch_norm or "mode", seed=seed, progress=progress,
        )  # fmt: skip
    return surface(
        model, case.loss, batches, along=others if along == "trajectory" else along, dims=dims,
        points=points, span=span, refine=refine, batch_norm=batch_norm or "mode",
        resume=resume if isinstance(resume, Surface) else None, seed=seed, progress=progress,
    )  # fmt: skip


def _check(along: str, to: Sequence[str], kind: str, limit: int, resume: Any) -> None:
    if along not in WAYS:
        raise ValueError(f"--along is {along!r}; there are {', '.join(WAYS)}")
    if along == "path" and len(to) != 1:
        raise ValueError(f"a path needs one checkpoint at its other end, --to; there are {len(to)}")
    if along == "trajectory" and len(to) < 2:
        raise ValueError("a trajectory needs its checkpoints in their order: --to FIRST --to NEXT")
    if to and along not in ("path", "trajectory"):
        raise ValueError(f"--to is for --along path or trajectory, not for {along}")
    if kind not in KINDS:
        raise ValueError(f"--kind is {kind!r}; there are {', '.join(KINDS)}")
    if limit < 1:
        raise ValueError(f"--samples is {limit}; it must be at least 1")
    if resume is not None and not isinstance(resume, Surface):
        raise ValueError(f"--resume holds a {type(resume).__name__}; it must be a saved Surface")


def _check_whole(along: str, dims: int, resume: Any, refine: int) -> None:
    if along in ("path", "trajectory"):
        raise ValueError(f"--map and --escape are of one point, and --along {along} of several")
    if dims != 2 or refine or resume is not None:
        raise ValueError(
            "--map and --escape draw one plane: leave out --dims, --refine and --resume"
        )


def _other(model: nn.Module, name: str) -> dict[str, torch.Tensor]:
    """A checkpoint that fits the model."""
    state = load_state(name)
    own = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        set_state(model, state, name)
    finally:
        model.load_state_dict(own)
    return state


def _first(batches: Any, limit: int) -> list[Any]:
    """Batches of `limit` samples together, the last one cut; at least one."""
    kept, count = [], 0
    for batch in listed(batches):
        size = samples(batch)
        if size is not None and count + size > limit:
            batch, size = sliced(batch, 0, limit - count), limit - count
        kept.append(batch)
        count += size or 1
        if count >= limit:
            break
    return kept
