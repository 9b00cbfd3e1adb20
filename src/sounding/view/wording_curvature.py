"""What results about curvature say: one sentence with the numbers in it, and what it means."""

from __future__ import annotations

import math

import numpy as np

from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.sharpness import Sharpness
from sounding.curvature.spectrum import Spectrum
from sounding.view.bulk import CLEAR, LEAK, Side, sides
from sounding.view.numbers import count, number, rough, share, sure, uncertain
from sounding.view.spectrum import Chart

LOUD = "NOT CONVERGED: "
RESIDUALS = (
    (
        "residual",
        "norm of H v − value · v: an eigenvalue lies that near to the value, up to the rounding of "
        "the products.",
    ),
    ("error", "at most this: the smaller of the residual and residual² / gap to the next value."),
)

SHARES = (
    "farther from zero than three widths of the smoothing, which leaks across it; ± is the "
    "density's standard error, added up. The share that is certain is a lower bound from the "
    "quadrature alone."
)


def spectrum_headline(result: Spectrum) -> str:
    """'Largest eigenvalue 34.47 (residual 0.02), smallest -0.531 (residual 0.004); ...'."""
    said = f"Largest eigenvalue {first(result.largest)}, smallest {first(result.smallest)}"
    if result.density is not None:
        said += _below(result.density)
    return (LOUD if trouble(result) else "") + said


def eigenpairs_headline(result: Eigenpairs) -> str:
    """'Largest eigenvalue 34.47 (residual 0.02)', of several the first and the last."""
    k = len(result.values)
    loud = LOUD if trouble(result) else ""
    if k <= 1:
        return f"{loud}{result.which.capitalize()} eigenvalue {first(result)}"
    last = uncertain(result.values[-1], result.residuals[-1])
    way = "down" if result.which == "largest" else "up"
    return f"{loud}{k} {result.which} eigenvalues, from {first(result)} {way} to {last}"


def density_headline(result: Density) -> str:
    """The shares on either side of zero, and how much lies too near for that."""
    below, above = sides(result)
    loud = LOUD if trouble(result) else ""
    if math.isnan(below.certain):
        return f"{loud}A density without any number in it"
    said = f"{_part(below)} of the density clearly below zero, {_part(above)} clearly above"
    return f"{loud}{said[0].upper()}{said[1:]}"


def _part(side: Side) -> str:
    """'8.3 ± 0.6 %'; 'none (to within 1.6 %)' where it cannot be told from nothing."""
    if side.told:
        return share(side.clear, side.error)
    return f"none (to within {share(max(side.error, LEAK))})"


def _below(density: Density) -> str:
    """'; 8.3 ± 0.6 % of the density clearly below zero', or nothing."""
    below, _ = sides(density)
    if math.isnan(below.certain):
        return "; no density"
    return f"; {_part(below)} of the density clearly below zero" if below.told else ""


def estimate_headline(result: Estimate) -> str:
    """'Trace 123.4 ± 2.1'."""
    loud = LOUD if trouble(result) else ""
    name = result.quantity[:1].upper() + result.quantity[1:]
    return f"{loud}{name} {uncertain(result.value, result.error)} ± {rough(result.error)}"


def first(pairs: Eigenpairs) -> str:
    """'34.47 (residual 0.02)'."""
    if not len(pairs.values):
        return "not computed"
    value, residual = float(pairs.values[0]), float(pairs.residuals[0])
    if math.isnan(value):
        return "NaN"
    return f"{uncertain(value, residual)} (residual {rough(residual)})"


def trouble(result: Spectrum | Eigenpairs | Density | Estimate | Sharpness) -> list[str]:
    """What did not converge, a sentence each, with what to do about it."""
    parts: dict[str, Eigenpairs | Density | Estimate | None]
    if isinstance(result, Spectrum):
        parts = {
            "the largest eigenvalues": result.largest,
            "the smallest eigenvalues": result.smallest,
            "the density": result.density,
            "the trace": result.trace,
        }
    elif isinstance(result, Sharpness):
        parts = {
            "the largest eigenvalue": result.largest,
            "the preconditioned eigenvalue": result.preconditioned,
            "the trace": result.trace,
        }
    else:
        parts = {"": result}
    return [
        ": ".join(word for word in (name, part.note or "ask for a looser tol") if word)
        for name, part in parts.items()
        if part is not None and not part.converged
    ]


def computed(result: Spectrum | Eigenpairs | Density | Estimate) -> str:
    """Of what, and at what cost, in one line."""
    matrix = result.matrix if isinstance(result, Spectrum) else ""
    rest = [
        f"{result.size:,} x {result.size:,}",
        count(result.products, "matrix-vector product"),
        f"{number(result.seconds)} s",
    ]
    return ", ".join([matrix, *rest] if matrix else rest)


def meaning(result: Spectrum | Eigenpairs) -> list[str]:
    """What the numbers mean for a training, a sentence or two each."""
    if isinstance(result, Eigenpairs):
        said = [_stable(result) if result.which == "largest" else _downwards(result)]
        return [f"If this is the Hessian of a loss, {sentence}" for sentence in said if sentence]
    said = [s for s in (_stable(result.largest), _downwards(result.smallest)) if s]
    if result.matrix.lower().startswith("hessian"):
        said = [sentence[0].upper() + sentence[1:] for sentence in said]
    else:
        said = [f"If this is the Hessian of a loss, {sentence}" for sentence in said]
    if result.density is not None:
        said += signs(result.density)
    return said


def signs(density: Density) -> list[str]:
    """What the density says about signs, and what it cannot say."""
    below, above = sides(density)
    if math.isnan(below.certain):
        return []
    said = f"{_part(below)} of the density is clearly below zero and {_part(above)} clearly above"
    certain = [
        f"{share(side.certain)} {name}"
        for side, name in ((below, "below"), (above, "above"))
        if side.certain
    ]
    proof = f" (for certain, at least {' and '.join(certain)})" if certain else ""
    rest = share(max(0.0, 1 - below.clear - above.clear))
    near = number(CLEAR * density.width)
    return [
        f"{said[0].upper()}{said[1:]}{proof}. The other {rest} is within {near} of zero, too near "
        "to tell its sign: directions that are flat, or nearly."
    ]


def _stable(pairs: Eigenpairs) -> str:
    """What the largest eigenvalue allows plain gradient descent."""
    value = float(pairs.values[0]) if len(pairs.values) else math.nan
    if math.isnan(value):
        return ""
    if value <= 0:
        return "the loss curves upwards along no direction that was found."
    return (
        f"plain gradient descent is stable only below a learning rate of "
        f"2 / {uncertain(value, pairs.residuals[0])} = {number(2 / value)}; above it, steps along "
        "the sharpest direction overshoot farther each time."
    )


def _downwards(pairs: Eigenpairs) -> str:
    """What the smallest eigenvalue says about a minimum, and how sure that is."""
    value = float(pairs.values[0]) if len(pairs.values) else math.nan
    if math.isnan(value):
        return ""
    residual = float(pairs.residuals[0])
    if value + residual < 0:
        return (
            "this point is not a minimum: along the direction of the smallest eigenvalue the loss "
            f"curves downwards, by {uncertain(value, residual)} to within {rough(residual)}."
        )
    if value < 0:
        return (
            f"a negative eigenvalue is not certain, as {uncertain(value, residual)} is less than "
            f"its residual {rough(residual)}; a smaller tol would decide."
        )
    if bounded(pairs):
        return (
            f"no negative eigenvalue was found, and with probability {sure(pairs.miss)} none lies "
            f"below {number(min(pairs.bound, value))}. A minimum needs a gradient of zero as well."
        )
    return "no negative eigenvalue was found."


def bounded(pairs: Eigenpairs) -> bool:
    """Whether something is known of what lies beyond the eigenvalues found."""
    return math.isfinite(pairs.bound) and pairs.miss < 1


def beyond(pairs: Eigenpairs) -> str:
    """'largest 34.47, nothing above 34.5 (99.9 %)'."""
    if not len(pairs.values) or math.isnan(float(pairs.values[0])):
        return f"{pairs.which}: NaN" if len(pairs.values) else f"{pairs.which}: not computed"
    said = f"{pairs.which} {uncertain(pairs.values[0], pairs.residuals[0])}"
    if not bounded(pairs):
        return said
    side = "above" if pairs.which == "largest" else "below"
    return (
        f"{said}, nothing {side} {uncertain(pairs.bound, pairs.residuals[0])} ({sure(pairs.miss)})"
    )


def bulk(chart: Chart) -> str:
    """Where the bulk ends, and how many of the eigenvalues found lie outside; '' without one."""
    if chart.bulk is None:
        return ""
    low, high = map(number, chart.bulk)
    said = f"bulk from {low} to {high}"
    if not chart.ends:
        return said
    sticks = [stick for stick in chart.sticks() if stick.outlier is not None]
    every = any(
        all(stick.outlier for stick in sticks if stick.end == end)
        for end in {stick.end for stick in sticks}
    )
    outliers = count(sum(bool(stick.outlier) for stick in sticks), "outlier")
    return f"{said}, {'at least ' if every else ''}{outliers}"


def scale(chart: Chart) -> str:
    """How the axis of eigenvalues is to be read; '' where it is linear."""
    if not chart.scale.bend:
        return ""
    return f"linear within ±{number(chart.scale.bend)}, logarithmic beyond"


def caption(chart: Chart) -> str:
    """How the figure is to be read, with where the bulk ends."""
    if chart.density is None:
        said = ["Marks are eigenvalues, bars their residuals, dotted lines the bounds."]
    else:
        said = [
            "The density's axis is logarithmic; a stick is one eigenvalue, and as high as one "
            "eigenvalue stands in the density."
        ]
    if scale(chart):
        said.append(f"The axis of eigenvalues is {scale(chart)}.")
    outside = bulk(chart)
    if outside:
        said.append(f"{outside[0].upper()}{outside[1:]}.")
    return " ".join(said)


def certainty(result: Spectrum | Eigenpairs | Density | Estimate) -> list[tuple[str, str]]:
    """What the error of each number is, as (name, explanation)."""
    if isinstance(result, Spectrum):
        said = certainty(result.largest)[:2]
        said += [*_bounds(result.largest), *_bounds(result.smallest)]
        if result.density is not None and signs(result.density):
            said += certainty(result.density)
        if result.trace is not None:
            said.append((estimate_headline(result.trace), _standard_error(result.trace)))
        return said + [("note", note) for note in result.notes]
    if isinstance(result, Eigenpairs):
        return [*RESIDUALS, *_bounds(result)]
    if isinstance(result, Estimate):
        return [("error", _standard_error(result))]
    return [("density", _quadrature(result)), ("clearly below zero", SHARES)]


def _quadrature(density: Density) -> str:
    """How the density was made, and what its band holds."""
    width = f"smoothed with a Gaussian of width {number(density.width)}"
    if density.degree >= density.size:
        return f"of all {density.size:,} eigenvalues, {width}."
    starts = count(len(np.atleast_2d(density.nodes)), "random start")
    return (
        f"stochastic Lanczos quadrature, {starts} of {density.degree} steps, {width}. The band is "
        "two standard errors, of the starts and of the steps. The area between the cumulative "
        f"distributions, it and the true one, is about {share(density.distance)} of the "
        f"eigenvalues' standard deviation, where {share(density.tol)} was asked for."
    )


def _bounds(pairs: Eigenpairs) -> list[tuple[str, str]]:
    """What may lie beyond the outermost eigenvalue found."""
    if not bounded(pairs):
        return []
    side = "above" if pairs.which == "largest" else "below"
    said = (
        f"with probability {sure(pairs.miss)} over the random start, nothing lies {side} "
        f"{uncertain(pairs.bound, pairs.residuals[0])}. One farther out than the tolerance "
        f"allows was missed with probability {number(pairs.missed)} at most."
    )
    return [(f"{pairs.which} eigenvalue", said)]


def _standard_error(estimate: Estimate) -> str:
    """'one standard error over the random vectors, 1.3 % of the value where 2 % was asked for'."""
    size = abs(estimate.value)
    known = size and math.isfinite(estimate.error)
    part = f"{share(estimate.error / size)} of the value" if known else "of a value of zero or NaN"
    mean = ""
    if estimate.quantity == "trace" and estimate.size:
        mean = f" The mean eigenvalue is {number(estimate.value / estimate.size)}."
    return (
        f"± is one standard error over the random vectors: {part}, where {share(estimate.tol)} "
        f"was asked for.{mean}"
    )
