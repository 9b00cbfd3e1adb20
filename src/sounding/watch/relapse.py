"""Which step took away what a run had learnt, and whether its batch or its weights are to blame."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import nn

from sounding.measure.intervene import Scene, Step
from sounding.measure.test import Test
from sounding.rules.relapse import lost
from sounding.watch.replay import passes, step
from sounding.watch.ring import Generation, Ring

BATCHES = 4  # of the first ones, whose loss shows what the net still knows
SECONDS = 10.0
LEAST = 8  # steps that show what is usual
AGREE = 1e-3  # relative, of a norm made again and that of the run: half precision, other sums


def relapse(ring: Ring, scene: Scene) -> Test | None:
    """The steps of the ring are made again, with the loss of the first stored batches between them.

    What the values say. `own`, the loss of the run at the step from which on it stayed high, and
    `kept`, that of the first stored batches with the same weights. `step`, the one after which the
    latter stays above the middle; `rise`, by how much, and as a `share` of the whole. `norm` of its
    gradient and the `usual` one, the median before it; `elsewhere`, the norm that the first stored
    batches have with the same weights: where that is usual and `norm` is not, the step's own batch
    made it. `lr`, and the `usual_lr` before. 'layer:NAME', of the parameters whose gradient grew
    most, by which factor. Nothing is said where the steps made again are not the run's.
    """
    shown = [s for s in scene.steps if s.tape.whole][:BATCHES]
    found = lost(scene.course.loss)
    if not shown or found is None:
        return None
    for generation in ring.generations:
        with scene.kept(), torch.enable_grad():
            course = _again(ring, generation, scene, shown)
            if course is None or not _agrees(course, generation, scene):
                continue
            below = np.flatnonzero(course[0][:-1] <= found.middle)
            at = int(below[-1]) if below.size else 0
            if at < LEAST or not course[0][-1] > found.middle:
                continue
            values = _values(ring, generation, scene, shown, at, course)
            values["share"] = values["rise"] / (2 * (found.middle - found.best))
            onset = _onset(generation, scene, course[0], found.onset)
            return Test(name="relapse", values=values | onset)
    return None


def _again(
    ring: Ring, generation: Generation, scene: Scene, shown: list[Step], until: int | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """(S + 1,) losses of the shown batches before each step and at the end, (S, P) norms.

    Up to the step `until` nothing is measured, and the gradients of that step are left in place.
    """
    began = time.perf_counter()
    parameters = [p for group in ring.optimizer.param_groups for p in group["params"]]
    generation.begin.restore()
    losses, norms = [], []
    for at, past in enumerate(generation.steps):
        if not past.whole or time.perf_counter() - began > SECONDS:
            break
        if until is None:
            losses.append(_loss(scene, shown))
        passes(ring, past)
        if at == until:
            break
        if until is None:
            norms.append([float(p.grad.norm()) if p.grad is not None else 0.0 for p in parameters])
        step(ring.optimizer, parameters, past)
        if losses and math.isinf(losses[-1]):
            break
    losses.append(_loss(scene, shown))
    return (np.array(losses), np.array(norms)) if len(norms) > LEAST else None


def _loss(scene: Scene, shown: list[Step]) -> float:
    with torch.no_grad():
        torch.manual_seed(0)
        found = np.mean([float(scene.loss(one)) for one in shown])
    return float(found) if np.isfinite(found) else math.inf


def _agrees(course: tuple[np.ndarray, np.ndarray], generation: Generation, scene: Scene) -> bool:
    """Whether the gradients of the steps made again are as long as the run's were."""
    again = np.linalg.norm(course[1], axis=1)
    first = generation.steps[0].number
    run = scene.course.gradient_norm[first : first + len(again)]
    if scene.course.steps <= generation.steps[-1].number or len(run) != len(again):
        return False  # of a very long run not every row is kept
    clips = np.array([past.clip for past in generation.steps[: len(again)]])
    again = np.fmin(again, clips)
    known = np.isfinite(run)
    return bool(known.any()) and bool(np.allclose(run[known], again[known], rtol=AGREE))


def _values(
    ring: Ring,
    generation: Generation,
    scene: Scene,
    shown: list[Step],
    at: int,
    course: tuple[np.ndarray, np.ndarray],
) -> dict[str, float]:
    losses, norms = course
    whole = np.linalg.norm(norms, axis=1)
    usual = np.median(norms[:at], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = np.nan_to_num(norms[at] / usual, nan=1.0, posinf=math.inf)
    _again(ring, generation, scene, shown, until=at)
    elsewhere = _elsewhere(ring, scene, shown)
    known = {id(p): name for name, p in ring.model.named_parameters()}
    parameters = [p for group in ring.optimizer.param_groups for p in group["params"]]
    values = {
        "step": float(generation.steps[at].number),
        "before": float(losses[at]),
        "rise": float(losses[at + 1] - losses[at]),
        "norm": float(whole[at]),
        "usual": float(np.median(whole[:at])),
        "spread": float(np.quantile(whole[:at], 0.9)),
        "elsewhere": elsewhere,
        "lr": float(generation.steps[at].rates[0]),
        "usual_lr": float(np.median([float(past.rates[0]) for past in generation.steps[:at]])),
    }
    largest = np.argsort(grown)[::-1][:3]
    return values | {f"layer:{known.get(id(parameters[k]), '')}": float(grown[k]) for k in largest}


def _onset(
    generation: Generation, scene: Scene, losses: np.ndarray, onset: int
) -> dict[str, float]:
    at = onset - generation.steps[0].number
    if not 0 <= at < len(losses):
        return {}
    return {"own": float(scene.course.loss[onset]), "kept": float(losses[at])}


def _elsewhere(ring: Ring, scene: Scene, shown: list[Step]) -> float:
    """The largest norm of the gradient that one of the shown batches has here."""
    norms = []
    for one in shown:
        ring.optimizer.zero_grad()
        torch.manual_seed(0)
        scene.loss(one).backward()
        held = [p for group in ring.optimizer.param_groups for p in group["params"]]
        norms.append(float(nn.utils.get_total_norm([p.grad for p in held if p.grad is not None])))
    return max(norms)
