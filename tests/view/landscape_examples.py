"""Synthetic surfaces and paths whose values are known, and the odd ones."""

import dataclasses
import math

import numpy as np

from sounding.landscape.paths import Path
from sounding.landscape.surface import Surface

HOSTILE = "</script><img src=x onerror=1>\x1b[31m\u202etxt"


def surface(function=None, *, points=25, reach=4.0, **changes):
    """Himmelblau's function and one, or another function of two arrays, on a square."""
    axis = np.linspace(-reach, reach, points)
    a, b = np.meshgrid(axis, axis, indexing="ij")
    function = function or (lambda a, b: (a**2 + b - 11) ** 2 + (a + b**2 - 7) ** 2 + 1)
    values = function(a, b)
    made = Surface(
        along="filter", axes=(axis, axis),
        names=("random direction 1, in filter norms", "random direction 2, in filter norms"),
        values=values, measured=np.ones(values.shape, dtype=bool),
        loss=float(function(np.zeros(1), np.zeros(1))[0]),
        said="random, each filter as long as the weights' (Li et al. 2018); biases and scales stay",
        norms=np.array([9.9, 9.9]), norm=10.0, trajectory=np.zeros((0, 2)), distances=np.zeros(0),
        explained=np.zeros(0), batch_norm="batch norm with the model's running statistics",
        samples=512, parameters=272474, way="a folded copy, 64 samples at once", deviation=2e-7,
        noise=0.0, model="ResNet20", seed=0, fingerprint="0123456789abcdef", seconds=82.5,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def holes():
    """NaN outside a disc, infinity in a corner, and a strip that was not measured."""
    whole = surface()
    a, b = np.meshgrid(*whole.axes, indexing="ij")
    values = np.where(a**2 + b**2 > 18, np.nan, whole.values)
    values[0, 0] = math.inf
    measured = b < 3.2
    return dataclasses.replace(
        whole, values=np.where(measured, values, np.nan), measured=measured,
        notes=("interrupted after 525 of 625 points; resume=<this surface> goes on",),
    )  # fmt: skip


def trajectory():
    """A spiral into the centre, of which the plane explains 91 %."""
    t = np.linspace(0, 1, 24)
    path = np.stack([3.4 * (1 - t) * np.cos(4 * t), 3.4 * (1 - t) * np.sin(4 * t)], axis=1)
    return surface(
        lambda a, b: 0.01 + a**2 + 2 * b**2, along="trajectory", trajectory=path,
        distances=np.linspace(0.8, 0, 24), explained=np.array([0.68, 0.23]),
        names=("principal direction 1 (68 % of the variance)",
               "principal direction 2 (23 % of the variance)"),
        said="principal directions of 24 points, through the last one; Euclidean distance",
    )  # fmt: skip


def line():
    """One dimension, with a hole."""
    axis = np.linspace(-1, 1, 21)
    values = 0.1 + 4 * axis**2
    values[3] = np.nan
    return surface(
        axes=(axis,), names=("random direction 1, in filter norms",), values=values,
        measured=np.ones(21, dtype=bool), loss=0.1, norms=np.array([9.9]),
    )  # fmt: skip


def hostile():
    """Text that would break a page, and values that would break a scale."""
    return surface(
        lambda a, b: 1e300 * a * np.abs(b) - 3e-9, model=HOSTILE, said=HOSTILE, notes=(HOSTILE,),
        names=(HOSTILE, HOSTILE), way=HOSTILE, batch_norm=HOSTILE,
    )  # fmt: skip


def flat():
    """The same loss everywhere."""
    return surface(lambda a, b: 0 * a + 2.5)


def empty():
    """No finite loss at all."""
    return surface(lambda a, b: np.nan * a)


def path(**changes):
    """A hill of 1.5 between losses of 0.1 and 0.3."""
    at = np.linspace(0, 1, 25)
    made = Path(
        curve="line", at=at, losses=0.1 + 0.2 * at + 6 * at * (1 - at),
        errors=0.02 + 0.1 * at * (1 - at), barrier=1.5, peak=0.5, interval=(1.41, 1.59), level=0.95,
        groups=20, samples=512, distance=14.2, length=14.2, moved=38, unmatched=20.1,
        training=np.zeros(0), batch_norm="", model="ResNet20", parameters=272474, seed=0,
        seconds=3.1,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def odd_path():
    """A hole on the way, and an interval that is not known."""
    whole = path()
    losses = whole.losses.copy()
    losses[12] = np.nan
    return path(losses=losses, barrier=math.inf, interval=(math.nan, math.nan), model=HOSTILE,
                notes=(HOSTILE,), training=np.linspace(2, 1, 50), moved=-1)  # fmt: skip


def everything():
    """One of each, by name."""
    return {
        "surface": surface(), "holes": holes(), "trajectory": trajectory(), "line": line(),
        "hostile": hostile(), "flat": flat(), "empty": empty(), "path": path(),
        "odd path": odd_path(),
    }  # fmt: skip
