"""Forks that are compared on stored batches which neither of them has seen."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from sounding.measure.intervene import forks
from sounding.measure.intervene.forks import Arm
from sounding.measure.intervene.scene import Scene

MANY = 16  # batches whose gradients one step averages
SHARE = 0.25  # of the stored batches, on which both arms are compared


def denoised(scene: Scene) -> dict[str, float]:
    """The same number of steps, each on the mean gradient of MANY batches, against steps on one."""
    return _compared(scene, Arm(batches=MANY))


def cooled(scene: Scene) -> dict[str, float]:
    """The training gone on with at a tenth of its last rate, against as it was."""
    return _compared(scene, Arm(rate=0.1, resume=True))


def heated(scene: Scene) -> dict[str, float]:
    """The training gone on with at ten times its last rate, against as it was."""
    return _compared(scene, Arm(rate=10.0, resume=True))


def reheated(scene: Scene) -> dict[str, float]:
    """The training gone on with at its first rate, against as it was."""
    return _compared(scene, Arm(steady=True, resume=True))


def _compared(scene: Scene, changed: Arm) -> dict[str, float]:
    """Both arms train on three quarters of the stored batches and are compared on the others.

    An arm that learns its samples by heart would only seem to win on those that it has seen.

    Raises:
        ValueError: If too few batches were kept.
    """
    held = int(SHARE * len(scene.steps))
    if held < 2:
        raise ValueError("too few batches were kept")
    part = dataclasses.replace(scene, steps=scene.steps[:-held])
    steps = min(forks.length(scene), forks.LONGEST // 2)
    losses = {}
    for name, arm in (("as_is", Arm(resume=changed.resume)), ("changed", changed)):
        with forks.begun(scene, arm), torch.enable_grad():
            forks.descend(part, arm, steps)
            with torch.no_grad():
                losses[name] = np.array([float(scene.loss(s)) for s in scene.steps[-held:]])
    as_is, other = losses["as_is"], np.nan_to_num(losses["changed"], nan=np.inf)
    if not np.isfinite(other).all():
        other = np.full(held, np.inf)
    gaps, known = as_is - other, np.isfinite(as_is).all() and np.isfinite(other).all()
    return {
        "as_is": float(as_is.mean()),
        "changed": float(other.mean()),
        "difference": float(gaps.mean()),
        "error": float(gaps.std(ddof=1) / math.sqrt(held)) if known else 0.0,
        "start": float(scene.course.loss[0]),
        "steps": float(steps),
        "held": float(held),
    }
