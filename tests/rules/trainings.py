"""Readings of trainings that are made up: what was seen of them, and how interventions came out."""

import dataclasses

import numpy as np

from sounding.measure.course import Course
from sounding.measure.loop import Evaluations, Loop
from sounding.measure.test import Test

SERIES = [field.name for field in dataclasses.fields(Course) if field.name != "workers"]


def watched(readings, *, steps=200, tests=None, **facts):
    """Readings of a training of which these facts are known; all others are as in a healthy one."""
    course = Course(**dict.fromkeys(SERIES, np.full(steps, np.nan)))
    none = Evaluations(count=0, training=0, low=None, high=None, outside=0.0, expected=0.0)
    healthy = {field.name: () for field in dataclasses.fields(Loop)}
    healthy |= {"decoupled": False, "foreign": 0, "fresh": False, "cut_source": "", "stale": 0}
    healthy |= {"evaluations": none, "training": True, "scales": {}}
    made = {name: Test(name=name, values=values) for name, values in (tests or {}).items()}
    loop = Loop(**healthy | facts)
    return dataclasses.replace(readings, course=course, loop=loop, tests=made)


def trained(readings, **tests):
    """Readings of a training of 200 steps, whose interventions came out as given."""
    course = Course(**dict.fromkeys(SERIES, np.full(200, np.nan)) | {"loss": np.ones(200)})
    made = {name: Test(name=name, values=values) for name, values in tests.items()}
    return dataclasses.replace(readings, course=course, tests=made)


def constant(level, now, *, start=None, error=0.001):
    """The test of that name: the best constant, and the net as the run ended and began."""
    return {
        "constant_loss": level,
        "constant_error": error,
        "now_loss": now,
        "now_error": error,
        "start_loss": level if start is None else start,
    }


def fork(as_is, changed, *, error=0.01, start=2.4):
    """A fork that ended so."""
    gain = as_is - changed
    values = {"as_is": as_is, "changed": changed, "difference": gain, "error": error}
    return {**values, "start": start, "steps": 200.0}
