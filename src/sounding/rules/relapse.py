"""SD701: a run that loses again what it had learnt, with the step at which it did, and why."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sounding.measure.readings import Readings
from sounding.measure.test import Test
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, watched
from sounding.rules.learning_rate import LOOK

PARTS = 20  # windows of a run, of which the best and the last are compared
WIDTH = 9  # steps whose median is the loss of the time
TINY, HUGE = 1e-30, 1e29  # of losses, what counts as none, and as no number
CHANCE = 0.01  # that among so many equal windows two differ as much


class Lost(NamedTuple):
    """What a run had reached, and where it ended."""

    best: float
    end: float
    middle: float  # half of what was lost; of a loss that explodes, of what had been learnt
    onset: int  # the step from which on the loss stays above the middle


def learning_lost(readings: Readings) -> Finding | str | None:
    """SD701: the loss ends far above its own best, and on the run's first batches too.

    The mean losses of twenty windows are compared, the last one with the best: by more than equal
    windows would differ once in a hundred runs, and by more than HALF of what had been learnt, the
    distance from the best constant's loss to the best window. That the batches have become harder
    is refuted by the first ones: the net is as bad on them. Where the steps around the loss can be
    made again, the one that did it is named, and what was wrong with it (the test 'relapse').
    """
    course = watched(readings)
    if course.steps < LOOK:
        raise NotApplicable(f"{course.steps} steps are but the beginning of a training")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns; what one gains, another may take")
    if (course.loss < 0).any():
        raise NotApplicable("the loss has no floor at 0")
    found = lost(course.loss)
    if found is None:
        return None
    constant = readings.test("constant")
    level, now = constant["constant_loss"], constant["now_loss"]
    learnt = level - found.best
    if not (learnt > HALF * level and found.end - found.best > HALF * learnt):
        return f"the loss rose from {found.best:.3g} to {found.end:.3g}, but most is still learnt"
    if now - found.best <= HALF * learnt:
        return (
            f"the loss ends at {found.end:.3g} instead of {found.best:.3g}, but on the run's first "
            f"batches at {now:.3g}: the later ones are harder"
        )
    return _finding(readings, found, level)


def lost(loss: np.ndarray) -> Lost | None:
    """Whether the last of twenty windows is clearly worse than the best one, by their log losses.

    A geometric mean, because one huge loss in a window says little about the others, and a loss
    that grows exponentially is as clearly a rise as any.
    """
    if len(loss) < LOOK or (loss < 0).any():
        return None
    logs = np.log(np.clip(np.nan_to_num(loss, nan=math.inf), TINY, 1 / TINY))
    parts = np.array_split(logs, PARTS)
    means = np.array([part.mean() for part in parts])
    errors = np.array([part.std(ddof=1) / math.sqrt(len(part)) for part in parts])
    at = int(np.argmin(means))
    sure = math.sqrt(2 * math.log(PARTS / CHANCE)) * math.hypot(errors[at], errors[-1])
    if not means[-1] - means[at] > sure:
        return None
    best, end = math.exp(means[at]), math.exp(means[-1])
    middle = best + HALF * (min(end, max(float(loss[0]), 2 * best)) - best)
    usual = np.median(np.lib.stride_tricks.sliding_window_view(logs, WIDTH), axis=1)
    below = np.flatnonzero(usual <= math.log(middle))
    onset = int(below[-1]) + WIDTH // 2 + 1 if below.size else 0
    return Lost(best, end, middle, min(onset, len(loss) - 1))


def _finding(readings: Readings, found: Lost, level: float) -> Finding:
    test = readings.tests.get("relapse")
    known = test is not None and not test.failed and abs(test["step"] - found.onset) <= PARTS
    blame = _blame(test) if known and test is not None else ""
    end = f"{found.end:.3g}" if found.end < HUGE else "no number"
    at = int(test["step"]) if known and test is not None else found.onset
    batch = "clip to" in blame
    remedy = Remedy(name="scale_lr", arguments={"factor": 0.1}, touches="recipe")
    if batch and test is not None:
        bound = float(f"{test['spread']:.3g}")
        remedy = Remedy(name="clip_norm", arguments={"bound": bound}, touches="recipe")
    return Finding(
        code="SD701",
        name="learning-lost",
        severity="problem",
        message=(
            f"the run had come to a loss of {found.best:.3g} and ends at {end}, where "
            f"the best constant prediction has {level:.3g}: it lost what it had learnt "
            f"{'at' if known else 'from about'} step {at}{' on' * (not known)}{blame}"
        ),
        layers=_layers(test) if known and test is not None else (),
        source="",
        measured={"loss": found.end, "best_constant": level}
        | ({k: v for k, v in test.values.items() if ":" not in k} if known and test else {}),
        expected={"loss": found.best},
        confidence="measured",
        remedies=() if "the data did it" in blame else (remedy,),
    )


def _blame(test: Test) -> str:
    """Half a sentence: the batch of the step, the weights that it met, or the steps together."""
    ratio = test["norm"] / test["usual"] if test["usual"] > 0 else math.inf
    layers = ", ".join(_layers(test)[:2])
    if test["share"] > HALF and test["norm"] > 2 * max(test["spread"], test["elsewhere"]):
        return (
            f"; the batch of that step did it: its gradient is {ratio:.3g} times the usual one, "
            f"most so in {layers}, and with the same weights other batches have an ordinary one; "
            f"look at that batch, or clip to {test['spread']:.2g}"
        )
    if test["share"] > HALF and max(test["norm"], test["elsewhere"]) <= 2 * test["spread"]:
        return (
            "; that step was too long: its gradient was an ordinary one, at a learning rate of "
            f"{test['lr']:.3g}, where {test['usual_lr']:.3g} was usual before"
        )
    if test["share"] > HALF:
        return (
            "; the weights that it met did it, not its batch: with them the gradients of other "
            f"batches are {test['elsewhere'] / max(test['usual'], 1e-300):.3g} times the usual one "
            "too; a lower learning rate, or clipping, keeps away from there"
        )
    if test.values.get("own", 0.0) > 2 * test.values.get("kept", math.inf):
        return (
            f"; the data did it: batches had a loss of {test['own']:.3g} there, while the first "
            f"ones, with the same weights, still had {test['kept']:.3g}"
        )
    return (
        f"; no single step did it (the worst has {test['share']:.0%} of the rise), nor the data: "
        "the steps became too long for the loss"
    )


def _layers(test: Test) -> tuple[str, ...]:
    return tuple(name.removeprefix("layer:") for name in test.values if name.startswith("layer:"))
