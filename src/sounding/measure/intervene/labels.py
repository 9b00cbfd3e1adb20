"""Whether the targets have anything to do with the inputs: a test by permutation."""

from __future__ import annotations

import math

import numpy as np
import torch

from sounding.capture.nested import tensors
from sounding.measure.intervene import forks
from sounding.measure.intervene.changes import exchanged
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
        z_fit, count = _z(scene, [(s, torch.arange(s.rows)) for s in fitted], shape, kind)
        seen = {mark for step in fitted for mark in _marks(step)}
        unseen = [(s, _rows(s, seen)) for s in fresh]
        if not any(len(rows) > 1 for _, rows in unseen):
            raise ValueError("every stored sample was among those that the net was fitted to")
        z_fresh, samples = _z(scene, [u for u in unseen if len(u[1]) > 1], shape, kind)
    counts = {"n_fit": float(count), "n_fresh": float(samples)}
    return {"z_fit": z_fit, "z_fresh": z_fresh, **counts}


def _marks(step: Step) -> list[bytes]:
    """What tells each sample of a batch from the others: its input, to the bit."""
    first = next(t for t in tensors(step.given) if t.dim())
    flat = first.reshape(len(first), -1).contiguous().cpu()
    return [row.numpy().tobytes() for row in flat.to(torch.float32).unbind()]


def _rows(step: Step, seen: set[bytes]) -> torch.Tensor:
    """The samples of a batch that the net was not fitted to."""
    new = [row for row, mark in enumerate(_marks(step)) if mark not in seen]
    return torch.tensor(new, dtype=torch.long)


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
        again = rows[torch.arange(step.rows) % len(rows)]
        args, kwargs = exchanged(step.given, again)
        parts.append((step, (args, kwargs), scene.model(*args, **kwargs), target, rows))
    generator = torch.Generator().manual_seed(0)

    def mean(*, mixed: bool) -> float:
        losses = []
        for step, given, output, target, rows in parts:
            order = torch.randperm(len(rows), generator=generator) if mixed else slice(None)
            other = target[rows[order][torch.arange(step.rows) % len(rows)]]
            replaced = {id(target): other}
            losses.append(float(step.tape.replay(given, output, exchanged=replaced)))
        return float(np.mean(losses))

    true = mean(mixed=False)
    draws = [mean(mixed=True) for _ in range(DRAWS)]
    spread = float(np.std(draws, ddof=1))
    z = (float(np.mean(draws)) - true) / spread if spread > 0 else math.nan
    return z, sum(len(rows) for _, rows in chosen)
