"""What results about sharpness say, at one point and along a training run."""

from __future__ import annotations

import math

import numpy as np

from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.view.numbers import count, number, rough, uncertain
from sounding.view.stability import largest, limit
from sounding.view.wording_curvature import LOUD, first, trouble


def deciding(result: Sharpness) -> Eigenpairs:
    """The eigenvalue that decides over stability: the preconditioned one, where there is one."""
    return result.largest if result.preconditioned is None else result.preconditioned


def point_headline(result: Sharpness) -> str:
    """'Sharpness 34.47 (residual 0.02), 0.862 of the stable limit 40'."""
    pairs = deciding(result)
    name = "Sharpness" if result.preconditioned is None else "Preconditioned sharpness"
    said = f"{LOUD if trouble(result) else ''}{name} {first(pairs)}"
    if math.isfinite(result.threshold) and len(pairs.values):
        part = number(float(pairs.values[0]) / result.threshold)
        said += f", {part} of the stable limit {result.threshold:.5g}"
    return said


def point_facts(result: Sharpness) -> list[tuple[str, str]]:
    """Everything that was measured at the point, as (name, sentence)."""
    facts = [("largest eigenvalue", f"{first(result.largest)}, of the Hessian.")]
    if result.preconditioned is not None:
        said = f"{first(result.preconditioned)}, of the Hessian as {result.optimizer} sees it."
        facts.append(("preconditioned", said))
    if math.isfinite(result.threshold):
        said = (
            f"{result.threshold:.5g} for {result.optimizer} at a learning rate of "
            f"{number(result.lr)}: above it, steps along the sharpest direction grow."
        )
        facts.append(("stable limit", said))
    way = f"how far the loss rises over a step of length {number(result.rho)} up its gradient."
    facts.append(("ascent", f"{number(result.ascent)}: {way}"))
    if result.trace is not None:
        value, error = result.trace.value, result.trace.error
        said = f"{uncertain(value, error)} ± {rough(error)}, one standard error."
        facts.append(("trace", said))
    return facts


def series_headline(result: SharpnessSeries) -> str:
    """'Sharpness 3.21 at step 0, 39.4 at step 2,000: 0.985 of the stable limit 40'."""
    sharpest, limits = largest(result), limit(result)
    known = np.flatnonzero(np.isfinite(sharpest))
    if not len(known):
        return "Sharpness is NaN throughout" if len(sharpest) else "Sharpness was not measured"
    first, last = int(known[0]), int(known[-1])
    said = f"Sharpness {number(sharpest[first])} at step {int(result.steps[first]):,}"
    if last > first:
        said += f", {number(sharpest[last])} at step {int(result.steps[last]):,}"
    if math.isfinite(limits[last]):
        part = number(sharpest[last] / limits[last])
        said += f": {part} of the stable limit {number(limits[last])}"
    if last < len(sharpest) - 1:
        said += f"; NaN from step {int(result.steps[last + 1]):,}"
    return said


def series_meaning(result: SharpnessSeries) -> str:
    """How often the limit was passed, and what happens there."""
    sharpest, limits = largest(result), limit(result)
    both = np.isfinite(sharpest) & np.isfinite(limits)
    if not both.any():
        return "The learning rate is not known, so there is no limit to compare with."
    above = int(np.sum(sharpest[both] > limits[both]))
    momentum = f" (1 + momentum {number(result.momentum)})" if result.momentum else ""
    return (
        f"The stable limit is 2{momentum} / learning rate. Sharpness was above it at {above} of "
        f"{count(int(both.sum()), 'measurement')}. Full-batch gradient descent cannot stay above "
        "it for long: the loss oscillates, and sharpness falls back or the training diverges."
    )


def series_caption(result: SharpnessSeries) -> str:
    """How the figure is to be read, and what it cost."""
    certified = int(np.sum(result.certified))
    products = count(int(np.sum(result.products)), "matrix-vector product")
    return (
        f"{count(len(result.steps), 'measurement')}, {certified} of them certified by a search "
        "from a random start; the others follow the last eigenvector, and could miss one that "
        f"overtook it. Bars are residuals. {products}, {number(float(np.sum(result.seconds)))} s."
    )
