"""SD212: a gradient that is mostly noise, for longer than the training lasts."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.rules.finding import Finding
from sounding.rules.harm import QUARTER, explained, relief, watched


def noisy_gradient(readings: Readings) -> Finding | str | None:
    """SD212: the noise of all steps together exceeds their signal, and averaging it away learns.

    With signal |E g|^2 and variance tr Cov(g) of one batch's gradient, S steps add up to S E g with
    a variance of S tr Cov(g): where variance / signal (the noise scale over the batch size,
    McCandlish et al. 2018) exceeds S, the whole run is a random walk. A net that has learnt what
    there is to learn has no signal left either, so steps on the mean gradient of 16 batches decide,
    by the loss on stored batches that were held back: on those that they see, 16 times as often,
    they would win by learning them by heart.
    """
    course = watched(readings)
    constant = readings.test("constant")
    if not -math.inf < explained(constant) < QUARTER:
        return None  # it learns, has diverged, or has a loss without a floor
    noise = readings.test("noise")
    ratio = noise["variance"] / noise["signal"] if noise["signal"] > 0 else math.inf
    if ratio < course.steps:
        return (
            f"a batch's gradient has {ratio:.3g} times as much noise as signal, "
            f"which {course.steps} steps average out"
        )
    found = relief(readings, "denoised")
    if not readings.test("denoised").values.get("held"):
        return "no batches were held back, and those that are seen again can be learnt by heart"
    if not found.harmful:
        return "steps on the gradient of 16 batches do not end clearly lower"
    lr = float(course.lr[np.isfinite(course.lr)][0])
    return Finding(
        code="SD212",
        name="noisy-gradient",
        severity="problem",
        message=(
            f"a batch's gradient has {ratio:.3g} times as much noise as signal, more than the "
            f"{course.steps} steps of the run average out; on 16 batches a step {found.said}; take "
            f"batches of {16 * readings.batch} samples, or lr={lr / 16:.2g}"
        ),
        layers=(),
        source="",
        measured=found.measured | {"noise_over_signal": ratio},
        expected=found.expected | {"noise_over_signal": float(course.steps)},
        confidence="measured",
        remedies=(Remedy(name="scale_lr", arguments={"factor": 1 / 16}, touches="recipe"),),
    )
