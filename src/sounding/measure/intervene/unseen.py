"""Stored samples that are held out, and forks that are compared on them.

Samples are held out, not batches, because a later epoch brings the same samples again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
from typing import NamedTuple

import numpy as np
import torch

from sounding.capture.nested import tensors
from sounding.measure.intervene import forks
from sounding.measure.intervene.changes import exchanged
from sounding.measure.intervene.forks import Arm
from sounding.measure.intervene.predictions import target_of
from sounding.measure.intervene.redrawing import redrawn
from sounding.measure.intervene.scene import Scene, Step

SHARE = 0.25  # of the stored samples that are held out
LEAST = 16  # of them, so that their permutations differ too


class Chosen(NamedTuple):
    """Some samples of a stored batch."""

    step: Step
    rows: torch.Tensor
    target: torch.Tensor  # of the whole batch


class Parted(NamedTuple):
    """A training without some of its samples."""

    scene: Scene  # whose batches are filled up with other samples of theirs
    fitted: list[Chosen]  # each sample once
    fresh: list[Chosen]


def undecayed_unseen(scene: Scene) -> dict[str, float]:
    """The training without weight decay, against as it was, on samples that neither has seen."""
    return _compared(scene, Arm(decay=0.0))


def redrawn_unseen(scene: Scene) -> dict[str, float]:
    """The training from weights drawn anew, against as it was, on samples that neither has seen."""
    return _compared(scene, Arm(change=redrawn))


def parted(scene: Scene) -> Parted:
    """The training without a quarter of the stored samples.

    Raises:
        ValueError: If the targets are not seen, or too few samples were kept.
    """
    targets = [_target(scene, step) for step in scene.steps]
    marks = [_marks(step) for step in scene.steps]
    every = list(dict.fromkeys(mark for one in marks for mark in one))
    held = set(random.Random(0).sample(every, int(SHARE * len(every))))
    if len(held) < LEAST:
        raise ValueError(f"{len(every)} stored samples are too few to hold some out")
    batches = list(zip(scene.steps, marks, targets, strict=True))
    steps, replaced = [], {}
    for step, one, target in batches:
        if kept := [row for row, mark in enumerate(one) if mark not in held]:
            rows = filled(torch.tensor(kept), step)
            args, kwargs = exchanged(step.given, rows)
            steps.append(dataclasses.replace(step, args=args, kwargs=kwargs))
            replaced[id(target)] = target[rows]
    return Parted(
        scene=dataclasses.replace(scene, steps=steps, exchanged=replaced),
        fitted=_once(batches, set(every) - held),
        fresh=_once(batches, held),
    )


def filled(rows: torch.Tensor, step: Step) -> torch.Tensor:
    """The rows, repeated until the batch has its size again."""
    return rows[torch.arange(step.rows) % len(rows)]


def _marks(step: Step) -> list[bytes]:
    """What tells each sample of a batch from the others: its input, to the bit."""
    first = next(t for t in tensors(step.given) if t.dim())
    flat = first.reshape(len(first), -1).contiguous().cpu()
    return [row.numpy().tobytes() for row in flat.to(torch.float32).unbind()]


def _target(scene: Scene, step: Step) -> torch.Tensor:
    call = scene.call
    if call is None or call.target is None:
        raise ValueError("no target was seen")
    target = target_of(step, call.target.shape[1:], call.target.kind)
    if target is None or step.tape.depends(step.rows):
        raise ValueError("the target of a stored batch, or a part of its input, was not found")
    return target


def _once(
    batches: list[tuple[Step, list[bytes], torch.Tensor]], wanted: set[bytes]
) -> list[Chosen]:
    """The rows of each batch that hold wanted samples, each sample where it comes first."""
    left, found = set(wanted), []
    for step, one, target in batches:
        rows = [row for row, mark in enumerate(one) if mark in left and not left.remove(mark)]
        if len(rows) > 1:
            found.append(Chosen(step, torch.tensor(rows), target))
    return found


def _compared(scene: Scene, changed: Arm) -> dict[str, float]:
    """Both arms train on the other samples, and are compared in evaluation mode on these."""
    part, steps = parted(scene), forks.length(scene)
    if len(part.fresh) < 2:
        raise ValueError("too few batches hold samples that were held out")
    one, other = (_losses(scene, part, arm, steps) for arm in (Arm(), changed))
    weights = [len(chosen.rows) for chosen in part.fresh]
    gaps = one - other
    return {
        "as_is": float(np.average(one, weights=weights)),
        "changed": float(np.average(other, weights=weights)),
        "difference": float(np.average(gaps, weights=weights)),
        "error": float(gaps.std(ddof=1) / math.sqrt(len(gaps))),
        "start": float(scene.course.loss[0]),
        "steps": float(steps),
        "samples": float(sum(weights)),
    }


def _losses(scene: Scene, part: Parted, arm: Arm, steps: int) -> np.ndarray:
    """The losses of one arm on the samples held out of each batch.

    Raises:
        ValueError: If they are no numbers.
    """
    change = arm.change(part.scene) if arm.change else contextlib.nullcontext()
    with forks.begun(scene, arm), change, torch.enable_grad():
        forks.descend(part.scene, arm, steps)
        scene.model.eval()
        with torch.no_grad():
            losses = np.array([_loss(scene, chosen) for chosen in part.fresh])
    if not np.isfinite(losses).all():
        raise ValueError("on samples that it was not fitted to the net's loss is no number")
    return losses


def _loss(scene: Scene, chosen: Chosen) -> float:
    """Of these samples, repeated until the batch has its size again."""
    step, rows = chosen.step, filled(chosen.rows, chosen.step)
    given = exchanged(step.given, rows)
    replaced = {id(chosen.target): chosen.target[rows]}
    output = scene.answer(step, given)
    with step.casts():
        return float(step.tape.replay(given, output, exchanged=replaced))
