"""Whether the targets have anything to do with the inputs: a test by permutation."""

from __future__ import annotations

import math

import numpy as np
import torch

from sounding.measure.intervene import forks
from sounding.measure.intervene.predictions import target_of
from sounding.measure.intervene.scene import Scene, Step

DRAWS = 100  # permutations
SHARE = 0.25  # of the stored batches that are held out
EPOCHS = 8  # passes over the rest at most


def labels(scene: Scene) -> dict[str, float]:
    """Fits the first stored batches, and tests on the others against permuted targets.

    If the targets were drawn independently of the inputs, exchanging them among the samples would
    change nothing: on samples that the net was not fitted to, the loss with the true targets is one
    more draw from the distribution over permutations. z is its distance from the mean of these in
    their standard deviations, positive where the true targets do better.

    Raises:
        ValueError: If the targets are not seen, or too few batches were kept.
    """
    call = scene.call
    held = max(1, int(SHARE * len(scene.steps)))
    if call is None or call.target is None or len(scene.steps) - held < 4:
        raise ValueError("too few batches with a target were kept")
    shape, kind = call.target.shape[1:], call.target.kind
    steps = max(forks.length(scene), 2 * (len(scene.steps) - held))
    fitted, fresh = scene.steps[:-held], scene.steps[-held:]
    part = Scene(
        scene.model, scene.optimizer, fitted, scene.begin, scene.course, scene.call, scene.several
    )
    with scene.begun_again(), torch.enable_grad():
        torch.manual_seed(0)
        count = min(steps, EPOCHS * len(fitted))
        forks.descend(part, forks.AS_IT_IS, count)
        scene.model.eval()
        z_fit, _ = _z(scene, fitted, shape, kind)
        z_fresh, samples = _z(scene, fresh, shape, kind)
    return {"z_fit": z_fit, "z_fresh": z_fresh, "n_fresh": float(samples)}


@torch.no_grad()
def _z(scene: Scene, steps: list[Step], shape: tuple[int, ...], kind: str) -> tuple[float, int]:
    """How much better the true targets do than permuted ones, and on how many samples."""
    outputs, targets = [], []
    for step in steps:
        target = target_of(step, shape, kind)
        if target is None:
            raise ValueError("the target of a stored batch was not found")
        outputs.append(scene.output(step))
        targets.append(target)
    true = _mean(steps, outputs, targets, targets)
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(DRAWS):
        mixed = [t[torch.randperm(len(t), generator=generator)] for t in targets]
        draws.append(_mean(steps, outputs, targets, mixed))
    spread = float(np.std(draws, ddof=1))
    z = (float(np.mean(draws)) - true) / spread if spread > 0 else math.nan
    return z, sum(len(t) for t in targets)


def _mean(steps: list[Step], outputs: list, targets: list, others: list) -> float:
    losses = [
        float(step.tape.replay(step.given, output, exchanged={id(target): other}))
        for step, output, target, other in zip(steps, outputs, targets, others, strict=True)
    ]
    return float(np.mean(losses))
