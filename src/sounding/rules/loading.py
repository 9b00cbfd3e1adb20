"""SD707: a training that waits for its data."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.course import Course
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, watched
from sounding.verdict import mean

PARTS = 20  # windows of a run, whose shares give the interval
HANDED = 0.01  # seconds: ten times what a batch from another process costs at least


def waits_for_data(readings: Readings) -> Finding | str | None:
    """SD707: more than half of the time is spent inside of the data loader.

    The host's clock around every call of the loader in training; of the share in twenty windows
    the whole interval at 95 % must be above HALF. A batch that is there within HANDED seconds could
    hardly come sooner from another process; three windows in four must have waited longer. A
    caution: nothing is learnt worse, only later.
    """
    course = watched(readings)
    if course.steps <= 2 * PARTS:
        raise NotApplicable(f"{course.steps} steps are too few for an interval")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns between two batches")
    if not (course.waited > 0).any():
        raise NotApplicable("no data loader of torch was asked for batches")
    waited, seconds = (_windows(values) for values in (course.waited, course.seconds))
    share = mean(waited / seconds)
    low, high = share.interval
    if not low > HALF:
        return None
    said = f"{share.value:.0%} [{low:.0%}, {high:.0%}] of the time"
    if not np.quantile(waited, 0.25) > HANDED:
        return f"{said} is spent in the data loader, {1e3 * np.median(waited):.2g} ms a step"
    faster = 1 / (1 - min(share.value, 0.999))
    return Finding(
        code="SD707",
        name="slow-data-loader",
        severity="caution",
        message=(
            f"{said} the training waits for its data loader: {1e3 * waited.mean():.3g} of "
            f"{1e3 * seconds.mean():.3g} ms a step; with batches that are there in time it would "
            f"be up to {faster:.2g} times faster; {_advice(course, faster)}"
        ),
        layers=(),
        source="",
        measured={"share": share.value, "seconds": float(waited.mean())},
        expected={"share": 0.0},
        confidence="measured",
    )


def _windows(values: np.ndarray) -> np.ndarray:
    """(PARTS,) means; the first step is left out, in which workers are started."""
    return np.array([part.mean() for part in np.array_split(values[1:], PARTS)])


def _advice(course: Course, faster: float) -> str:
    workers = course.workers
    if workers <= 0:
        return "read in other processes: num_workers=4, pin_memory=True, persistent_workers=True"
    more = math.ceil(workers * min(faster, 8.0))
    return f"{workers} workers are not enough: num_workers={more}, or do the work once, beforehand"
