"""Forks of a training: begun again from its first weights, as it was and with one thing changed."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import nn

from sounding.measure.intervene.scene import Scene, Step

LONGEST, SECONDS, LEAST = 200, 3.0, 8  # steps of an arm, seconds it may take, steps that tell
REPEATS = 0.01  # of the loss: half precision and other summation orders stay below
Change = Callable[[Scene], AbstractContextManager[float | None]]


@dataclasses.dataclass(frozen=True)
class Arm:
    """How the steps of a fork differ from those of the training."""

    rate: float = 1.0  # factor on the learning rate
    steady: bool = False  # the first learning rate all along
    decay: float = 1.0  # factor on the weight decay
    even: bool = False  # all groups at the highest rate among them
    clip: bool = False  # to the median of the norms so far
    unclip: bool = False  # no clipping
    batches: int = 1  # of which each step takes the mean gradient
    zero: bool = False  # gradients zeroed before every step
    average: bool = False  # over the backward calls of a step
    warm: bool = False  # linearly over the first third
    settings: tuple[tuple[str, float | bool], ...] = ()  # of the optimiser
    resume: bool = False  # from the end of the training
    change: Change | None = None  # of the model, for the time of the fork


AS_IT_IS = Arm()


def length(scene: Scene) -> int:
    """Steps of an arm: those of the training, as far as the time allows.

    Raises:
        ValueError: If too few would be left, or the training cannot be begun again.
    """
    if scene.several:
        raise ValueError("several optimisers take turns; such a training is not begun again here")
    if scene.optimizer is None or not scene.steps:
        raise ValueError("no step of the training was kept")
    if isinstance(scene.optimizer, torch.optim.LBFGS):
        raise ValueError("L-BFGS needs the user's own closure")
    most = min(scene.course.steps, LONGEST)
    with scene.begun_again():
        times = []
        for _ in range(3):  # the first one warms up
            start = time.perf_counter()
            scene.loss(scene.steps[0]).backward()
            times.append(time.perf_counter() - start)
        once = min(times) * calls_a_step(scene)
    _check_repeats(scene)
    count = min(most, int(SECONDS / max(once, 1e-6)))
    if count < LEAST:
        raise ValueError(f"{count} steps are too few to tell anything")
    return count


def _check_repeats(scene: Scene) -> None:
    """Whether the first step has the loss that it had; where nothing random is in between."""
    losses = []
    for seed in (0, 1):
        with scene.begun_again(), torch.no_grad():
            torch.manual_seed(seed)
            losses.append(float(scene.loss(scene.steps[0])))
    first = float(scene.course.loss[0])
    alone = losses[0] == losses[1] and calls_a_step(scene) == 1
    if alone and abs(losses[0] - first) > REPEATS * max(abs(first), abs(losses[0])):
        raise ValueError("the training cannot be begun again: the model is another one now")


def calls_a_step(scene: Scene) -> int:
    """Calls of backward in one step of the training."""
    known = scene.course.backwards[scene.course.backwards > 0]
    return max(1, round(float(np.median(known)))) if known.size else 1


def run(scene: Scene, arm: Arm, steps: int) -> np.ndarray:
    """(steps,) losses of an arm; infinite from where they are no numbers."""
    change = arm.change(scene) if arm.change else contextlib.nullcontext()
    with begun(scene, arm), change as factor, torch.enable_grad():
        return descend(scene, arm, steps) * (factor or 1.0)


@contextlib.contextmanager
def begun(scene: Scene, arm: Arm) -> Iterator[None]:
    """Inside, the training is where the arm begins, with its settings of the optimiser."""
    with scene.kept() if arm.resume else scene.begun_again():
        _settle(scene, arm)
        torch.manual_seed(0)
        yield


def descend(
    scene: Scene, arm: Arm, steps: int, *, after: Callable[[int], None] | None = None
) -> np.ndarray:
    """The steps themselves, from the weights as they are; `after` hears how many are made."""
    optimizer, count = scene.optimizer, calls_a_step(scene) * arm.batches
    assert optimizer is not None
    carried = np.nanmax(scene.course.carried, initial=0.0) > 0
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    losses = np.full(steps, np.inf)
    norms: list[float] = []
    rates = [group["lr"] for group in optimizer.param_groups]
    rates = [max(rates)] * len(rates) if arm.even else rates
    value = np.nan
    for step in range(steps):
        if not carried or arm.zero:
            optimizer.zero_grad()
        for k in range(count):
            loss = scene.loss(scene.steps[(step * count + k) % len(scene.steps)])
            (loss / (count if arm.average else arm.batches)).backward()
            value = float(loss.detach()) if k == 0 else value
        if not np.isfinite(value):
            break
        losses[step] = value
        _clip(scene, arm, parameters, norms, step)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * arm.rate * _schedule(scene, arm, step, steps)
        optimizer.step()
        if after is not None:
            after(step + 1)
    return losses


def _schedule(scene: Scene, arm: Arm, step: int, steps: int) -> float:
    """The factor on the first learning rate, as the training had it at this step."""
    warm = min(1.0, (step + 1) / max(steps / 3, 1)) if arm.warm else 1.0
    lr = scene.course.lr
    if arm.steady or not lr.size or not lr[0] > 0:
        return warm
    at = -1 if arm.resume else min(step, lr.size - 1)
    return warm * float(lr[at] / lr[0])


def _clip(scene: Scene, arm: Arm, parameters: list, norms: list[float], step: int) -> None:
    if arm.clip:
        norm = float(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
        norms.append(norm)
        bound = float(np.median(norms))
    else:
        bounds = scene.course.bound
        bound = float(bounds[min(step, bounds.size - 1)]) if bounds.size else float("nan")
    if bound > 0 and not arm.unclip:
        nn.utils.clip_grad_norm_(parameters, bound)


def _settle(scene: Scene, arm: Arm) -> None:
    """The arm's settings of the optimiser; `kept` puts the old ones back."""
    assert scene.optimizer is not None
    first = scene.course.lr[0] if scene.course.lr.size else np.nan
    for group in scene.optimizer.param_groups:
        if arm.resume and np.isfinite(first):
            group["lr"] = float(first)
        if "weight_decay" in group:
            group["weight_decay"] *= arm.decay
        group.update({key: value for key, value in arm.settings if key in group})


def compare(as_is: np.ndarray, changed: np.ndarray) -> dict[str, float]:
    """Mean losses of the last quarter of both arms and the paired difference with its error."""
    count = max(len(as_is) // 4, 3)
    one, other = as_is[-count:], changed[-count:]
    with np.errstate(invalid="ignore"):
        gaps = one - other
    values = {"as_is": float(one.mean()), "changed": float(other.mean()), "steps": len(as_is)}
    values["start"] = float(as_is[0])
    values["wins"] = float((other < one).mean())
    if np.isfinite(gaps).all():
        values["difference"] = float(gaps.mean())
        values["error"] = float(gaps.std(ddof=1) / np.sqrt(count))
    else:
        better = np.isfinite(other).all()
        values["difference"] = np.inf if better else -np.inf
        values["error"] = 0.0
    return values


def stored(scene: Scene) -> list[Step]:
    """The stored steps whose loss can be computed again."""
    return [step for step in scene.steps if step.tape.whole]
