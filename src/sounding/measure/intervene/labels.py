"""Whether the targets have anything to do with the inputs: a test by permutation."""

from __future__ import annotations

import math

import numpy as np
import torch

from sounding.measure.intervene import forks
from sounding.measure.intervene.changes import exchanged
from sounding.measure.intervene.scene import Scene
from sounding.measure.intervene.unseen import Chosen, filled, parted

DRAWS = 100  # permutations
EPOCHS = 8  # passes over the rest at most


def labels(scene: Scene) -> dict[str, float]:
    """Fits a part of the stored samples, and tests on the others against permuted targets.

    If the targets were drawn independently of the inputs, exchanging them among the samples would
    change nothing: on samples that the net was not fitted to, the loss with the true targets is one
    more draw from the distribution over permutations. z is its distance from the mean of these in
    their standard deviations, positive where the true targets do better. Samples are held out, not
    batches, because a later epoch brings the same samples again; each is tested once.

    Raises:
        ValueError: If the targets are not seen, too few samples were kept, or the net that is
            fitted ends in losses that are not finite.
    """
    part = parted(scene)
    with scene.begun_again(), torch.enable_grad():
        torch.manual_seed(0)
        steps = min(forks.length(scene), EPOCHS * len(part.scene.steps))
        forks.descend(part.scene, forks.AS_IT_IS, steps)
        scene.model.eval()
        z_fit, count = _z(scene, part.fitted)
        z_fresh, samples = _z(scene, part.fresh)
    counts = {"n_fit": float(count), "n_fresh": float(samples)}
    return {"z_fit": z_fit, "z_fresh": z_fresh, **counts}


@torch.no_grad()
def _z(scene: Scene, chosen: list[Chosen]) -> tuple[float, int]:
    """How much better the true targets do than permuted ones, and on how many samples.

    Of each batch the chosen rows only; they are repeated until the batch has its size again.
    """
    parts = []
    for step, rows, target in chosen:
        given = exchanged(step.given, filled(rows, step))
        parts.append((step, given, scene.answer(step, given), target, rows))
    generator = torch.Generator().manual_seed(0)

    def mean(*, mixed: bool) -> float:
        losses = []
        for step, given, output, target, rows in parts:
            order = torch.randperm(len(rows), generator=generator) if mixed else slice(None)
            other = target[filled(rows[order], step)]
            replaced = {id(target): other}
            losses.append(float(step.tape.replay(given, output, exchanged=replaced)))
        return float(np.average(losses, weights=[len(rows) for *_, rows in parts]))

    true = mean(mixed=False)
    draws = [mean(mixed=True) for _ in range(DRAWS)]
    if not np.isfinite([true, *draws]).all():
        raise ValueError("begun again on a part of the samples, the net ends in NaN or Inf")
    spread = float(np.std(draws, ddof=1))
    z = (float(np.mean(draws)) - true) / spread if spread > 0 else math.nan
    return z, sum(len(one.rows) for one in chosen)
