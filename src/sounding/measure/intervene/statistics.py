"""The running statistics of batch norms, taken anew from the stored batches."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from sounding.measure.intervene.scene import Scene


def recalibrated(scene: Scene) -> dict[str, float]:
    """The loss in evaluation mode, as it is and with statistics that are the batches' mean.

    Raises:
        ValueError: If no batch norm keeps running statistics.
    """
    norms = [m for m in scene.model.modules() if isinstance(m, _BatchNorm)]
    norms = [m for m in norms if m.track_running_stats]
    if not norms:
        raise ValueError("no batch norm keeps running statistics")
    with torch.no_grad():
        scene.model.eval()
        before = np.array([float(scene.loss(step)) for step in scene.steps])
        for norm in norms:
            norm.reset_running_stats()
            norm.training, norm.momentum = True, None  # None: the mean of all batches
        for step in scene.steps:
            scene.output(step)
        scene.model.eval()
        after = np.array([float(scene.loss(step)) for step in scene.steps])
    gaps = before - after
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    return {"before": float(before.mean()), "after": float(after.mean()), "error": error}
