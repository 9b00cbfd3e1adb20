"""Whether the targets have anything to do with the inputs: a test by permutation."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import torch

from sounding.capture.nested import tensors
from sounding.measure.intervene import forks
from sounding.measure.intervene.changes import exchanged
from sounding.measure.intervene.predictions import target_of
from sounding.measure.intervene.scene import Scene, Step

DRAWS = 100  # permutations
SHARE = 0.25  # of the stored samples that are held out
LEAST = 16  # of them, so that their permutations differ
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
    call = scene.call
    if call is None or call.target is None:
        raise ValueError("no target was seen")
    shape, kind = call.target.shape[1:], call.target.kind
    marks = [_marks(step) for step in scene.steps]
    every = list(dict.fromkeys(mark for one in marks for mark in one))
    held = set(random.Random(0).sample(every, int(SHARE * len(every))))
    if len(held) < LEAST:
        raise ValueError(f"{len(every)} stored samples are too few to hold some out")
    steps, replaced = [], {}
    for step, one in zip(scene.steps, marks, strict=True):
        kept = [row for row, mark in enumerate(one) if mark not in held]
        target = target_of(step, shape, kind)
        if target is None or step.tape.depends(step.rows):
            raise ValueError("the target of a stored batch, or a part of its input, was not found")
        if kept:
            rows = _filled(torch.tensor(kept), step)
            args, kwargs = exchanged(step.given, rows)
            steps.append(dataclasses.replace(step, args=args, kwargs=kwargs))
            replaced[id(target)] = target[rows]
    part = dataclasses.replace(scene, steps=steps, exchanged=replaced)
    with scene.begun_again(), torch.enable_grad():
        torch.manual_seed(0)
        forks.descend(part, forks.AS_IT_IS, min(forks.length(scene), EPOCHS * len(steps)))
        scene.model.eval()
        fitted, fresh = _once(scene, marks, set(every) - held), _once(scene, marks, held)
        z_fit, count = _z(scene, fitted, shape, kind)
        z_fresh, samples = _z(scene, fresh, shape, kind)
    counts = {"n_fit": float(count), "n_fresh": float(samples)}
    return {"z_fit": z_fit, "z_fresh": z_fresh, **counts}


def _marks(step: Step) -> list[bytes]:
    """What tells each sample of a batch from the others: its input, to the bit."""
    first = next(t for t in tensors(step.given) if t.dim())
    flat = first.reshape(len(first), -1).contiguous().cpu()
    return [row.numpy().tobytes() for row in flat.to(torch.float32).unbind()]


def _filled(rows: torch.Tensor, step: Step) -> torch.Tensor:
    """The rows, repeated until the batch has its size again."""
    return rows[torch.arange(step.rows) % len(rows)]


def _once(
    scene: Scene, marks: list[list[bytes]], wanted: set[bytes]
) -> list[tuple[Step, torch.Tensor]]:
    """The rows of each batch that hold wanted samples, each sample where it comes first."""
    left, found = set(wanted), []
    for step, one in zip(scene.steps, marks, strict=True):
        rows = [row for row, mark in enumerate(one) if mark in left and not left.remove(mark)]
        if len(rows) > 1:
            found.append((step, torch.tensor(rows)))
    return found


@torch.no_grad()
def _z(
    scene: Scene, chosen: list[tuple[Step, torch.Tensor]], shape: tuple[int, ...], kind: str
) -> tuple[float, int]:
    """How much better the true targets do than permuted ones, and on how many samples.

    Of each batch the chosen rows only; they are repeated until the batch has its size again.
    """
    parts = []
    for step, rows in chosen:
        target = target_of(step, shape, kind)
        if target is None:
            raise ValueError("the target of a stored batch was not found")
        given = exchanged(step.given, _filled(rows, step))
        parts.append((step, given, scene.answer(step, given), target, rows))
    generator = torch.Generator().manual_seed(0)

    def mean(*, mixed: bool) -> float:
        losses = []
        for step, given, output, target, rows in parts:
            order = torch.randperm(len(rows), generator=generator) if mixed else slice(None)
            other = target[_filled(rows[order], step)]
            replaced = {id(target): other}
            losses.append(float(step.tape.replay(given, output, exchanged=replaced)))
        return float(np.average(losses, weights=[len(rows) for *_, rows in parts]))

    true = mean(mixed=False)
    draws = [mean(mixed=True) for _ in range(DRAWS)]
    if not np.isfinite([true, *draws]).all():
        raise ValueError("begun again on a part of the samples, the net ends in NaN or Inf")
    spread = float(np.std(draws, ddof=1))
    z = (float(np.mean(draws)) - true) / spread if spread > 0 else math.nan
    return z, sum(len(rows) for _, rows in chosen)
