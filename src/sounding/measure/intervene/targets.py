"""The targets of a regression, brought to mean 0 and deviation 1."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from sounding.measure.intervene.predictions import BATCHES, fitted_constant, target_of
from sounding.measure.intervene.scene import Scene


@contextlib.contextmanager
def scaled_targets(scene: Scene) -> Iterator[float]:
    """Inside, every target is standardised; yields what brings its loss to the old units.

    That is the loss of the best constant with the old targets over that with the new ones.

    Raises:
        ValueError: If the targets are not seen.
    """
    call = scene.call
    if call is None or call.target is None:
        raise ValueError("no target was seen")
    found = [target_of(s, call.target.shape[1:], call.target.kind) for s in scene.steps]
    targets = [t for t in found if t is not None]
    if len(targets) < len(scene.steps):
        raise ValueError("the target of a stored batch was not found")
    rows = torch.cat([t.flatten(1) if t.dim() > 1 else t[:, None] for t in targets])
    mean, std = rows.mean(), rows.std()
    some = scene.steps[:BATCHES]
    old = float(np.mean(fitted_constant(scene, some)))
    scene.exchanged = {id(t): (t - mean) / std for t in targets}
    try:
        yield old / float(np.mean(fitted_constant(scene, some)))
    finally:
        scene.exchanged = {}
