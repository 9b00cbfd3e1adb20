"""SD707: a training that waits for its data."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.course import Course
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, watched
from sounding.rules.learning_rate import LOOK
from sounding.verdict import Estimate, mean

PARTS = 20  # windows of a run, whose shares give the interval
HANDED = 0.01  # seconds: ten times what a batch from another process costs at least


def waits_for_data(readings: Readings) -> Finding | str | None:
    """SD707: more than half of the time is spent inside of the data loader.

    The host's clock around every call of the loader in training; of the share in twenty windows
    the whole interval at 95 % must be above HALF. A batch that is there within HANDED seconds could
    hardly come sooner from another process. A caution: nothing is learnt worse, only later.
    """
    course = watched(readings)
    if course.steps < LOOK:
        raise NotApplicable(f"{course.steps} steps are but the beginning of a training")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns between two batches")
    waited = course.waited
    if not (waited > 0).any():
        raise NotApplicable("no data loader of torch was asked for batches")
    share, each = shares(course), float(waited[1:].mean())
    if not share.interval[0] > HALF:
        return None
    if each < HANDED:
        return f"{share.value:.0%} of the time is spent in the loader, {1e3 * each:.2g} ms a step"
    step = float(course.seconds[1:].mean())
    faster = 1 / max(1 - share.value, 1e-9)
    low, high = share.interval
    return Finding(
        code="SD707",
        name="slow-data-loader",
        severity="caution",
        message=(
            f"{share.value:.0%} [{low:.0%}, {high:.0%}] of the time the training waits for its "
            f"data loader: {1e3 * each:.3g} of {1e3 * step:.3g} ms a step; with batches that are "
            f"there in time it would be up to {faster:.2g} times faster; {_advice(course, faster)}"
        ),
        layers=(),
        source="",
        measured={"share": share.value, "seconds": each},
        expected={"share": 0.0},
        confidence="measured",
    )


def shares(course: Course) -> Estimate:
    """The share of the time that was spent waiting; its interval is that over twenty windows.

    The first step is left out, in which workers are started.
    """
    waited = np.array_split(course.waited[1:], PARTS)
    seconds = np.array_split(course.seconds[1:], PARTS)
    each = [float(w.sum() / s.sum()) for w, s in zip(waited, seconds, strict=True) if s.sum() > 0]
    return mean(each)


def _advice(course: Course, faster: float) -> str:
    workers = course.workers
    if workers <= 0:
        return "read in other processes: num_workers=4, pin_memory=True, persistent_workers=True"
    more = math.ceil(workers * min(faster, 8.0))
    return f"{workers} workers are not enough: num_workers={more}, or do the work once, beforehand"
