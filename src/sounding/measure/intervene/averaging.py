"""Whether the noise of the gradient is what keeps a training from learning."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from sounding.measure.intervene import forks
from sounding.measure.intervene.scene import Scene

MANY = 16  # batches whose gradients one step averages
SHARE = 0.25  # of the stored batches, on which both arms are compared


def denoised(scene: Scene) -> dict[str, float]:
    """The same number of steps, each on the mean gradient of MANY batches, against steps on one.

    Both arms train on three quarters of the stored batches and are compared on the others, which
    neither has seen: an arm that sees its samples more often would only know them by heart.

    Raises:
        ValueError: If too few batches were kept.
    """
    held = int(SHARE * len(scene.steps))
    if held < 2:
        raise ValueError("too few batches were kept")
    part = dataclasses.replace(scene, steps=scene.steps[:-held])
    steps = min(forks.length(scene), forks.LONGEST // 2)
    losses = {}
    for name, count in (("as_is", 1), ("changed", MANY)):
        with scene.begun_again(), torch.enable_grad():
            torch.manual_seed(0)
            forks.descend(part, forks.Arm(batches=count), steps)
            with torch.no_grad():
                losses[name] = np.array([float(scene.loss(s)) for s in scene.steps[-held:]])
    gaps = losses["as_is"] - losses["changed"]
    return {
        "as_is": float(losses["as_is"].mean()),
        "changed": float(losses["changed"].mean()),
        "difference": float(gaps.mean()),
        "error": float(gaps.std(ddof=1) / math.sqrt(held)),
        "start": float(scene.course.loss[0]),
        "steps": float(steps),
        "held": float(held),
    }
