"""What stationary points and escapes say: a sentence, and rows of facts."""

from __future__ import annotations

import math

import numpy as np

from sounding.landscape.escape import Escape
from sounding.landscape.stationary_point import StationaryPoint
from sounding.studies.chart import Chart, Line
from sounding.view.numbers import count, number, percent, uncertain

METHODS = {
    "negative_curvature": "negative curvature",
    "cubic": "cubic-regularised Newton steps",
    "perturbed": "perturbed gradient descent",
    "noise": "gradient descent with noise",
}


def point_headline(result: StationaryPoint) -> str:
    """The kind, and the number that decides it."""
    smallest = uncertain(result.smallest, result.smallest_error)
    if result.kind == "not stationary":
        bound = number(result.gradient_bound)
        return f"Not stationary: gradient {number(result.gradient_norm)}, zero counts up to {bound}"
    return f"{result.kind.capitalize()}: smallest eigenvalue {smallest}".replace("-", "−")


def point_facts(result: StationaryPoint) -> list[tuple[str, str]]:
    """Rows (what, said), each number with its error."""
    noise = result.gradient_noise
    sampled = f"; its error over the batches is {number(noise)}" if math.isfinite(noise) else ""
    facts = [
        ("why", result.reason),
        ("loss", number(result.loss)),
        ("gradient norm", f"{number(result.gradient_norm)}, counts as zero up to "
                          f"{number(result.gradient_bound)}{sampled}"),
        ("eigenvalues", _ends(result) + _missed(result)),
        *([("index", _index(result))] if result.is_stationary else []),
        ("second-order test", _second_order(result)),
    ]  # fmt: skip
    if math.isfinite(result.distance):
        near = f"a stationary point lies within {number(result.distance)} (Newton-Kantorovich)"
        facts.append(("proven nearby", near))
    if math.isfinite(result.order):
        fall = f"as the length to the power {result.order:.2g}, by {number(result.fall)} as far"
        facts.append(("flat directions", f"the loss falls {fall} as was looked"))
    if result.rectified:
        kinks = f"{result.kinks} of {result.rectified} pre-activations of rectifiers are zero"
        facts.append(("kinks", kinks))
    cost = f"{count(result.gradients, 'gradient')}, {count(result.products, 'Hessian product')}"
    return [*facts, ("cost", f"{cost}, {number(result.seconds)} s")]


def _ends(result: StationaryPoint) -> str:
    low = uncertain(result.smallest, result.smallest_error)
    high = uncertain(result.largest, result.largest_error)
    return f"from {low} to {high}".replace("-", "−")


def _missed(result: StationaryPoint) -> str:
    if result.exact:
        return "; all eigenvalues are known"
    bound = number(result.smallest_bound)
    return f"; none below {bound} with probability {percent(1 - result.miss)}"


def _index(result: StationaryPoint) -> str:
    below = count(result.index, "eigenvalue") + " below zero"
    flat = "" if result.flat < 0 else f", {result.flat} that count as zero"
    return f"{'' if result.exact else 'at least '}{below}{flat}"


def _second_order(result: StationaryPoint) -> str:
    words = {True: "passed", False: "not passed", None: "not known"}[result.second_order]
    root = math.sqrt(max(result.rho * result.eps, 0.0))
    return (
        f"{words}: gradient ≤ {number(result.eps)} and smallest eigenvalue ≥ "
        f"{number(-root).replace('-', '−')}, with rho at least {number(result.rho)}"
    )


def escape_headline(result: Escape) -> str:
    """Whether it got away, and where to."""
    ends = f"loss {number(result.start_loss)} → {number(result.loss)}"
    if not result.escaped:
        reason = result.note or result.certificate.reason
        fell = result.loss < result.start_loss
        return f"Not at an end yet: {ends}; {reason}" if fell else f"Did not escape: {reason}"
    return f"Escaped: {ends}, to a point that is {_article(result.certificate.kind)}"


def _article(kind: str) -> str:
    return kind if kind in ("degenerate", "not stationary", "undecided") else f"a {kind}"


def escape_facts(result: Escape) -> list[tuple[str, str]]:
    """Rows (what, said)."""
    cost = (
        f"{count(result.steps, 'step')}, {count(result.gradients, 'gradient')}, "
        f"{count(result.products, 'Hessian product')}, {number(result.seconds)} s"
    )
    end = result.certificate
    return [
        ("method", METHODS.get(result.method, result.method)),
        ("cost", cost),
        ("distance", f"{number(result.distance)} between start and end"),
        ("the end", f"{end.kind}: {end.reason}"),
        ("gradient there", number(end.gradient_norm)),
        ("eigenvalues there", _ends(end) + _missed(end)),
    ]


def escape_chart(result: Escape) -> Chart | None:
    """The loss on the way, above the lowest that was seen; None for a way without steps."""
    losses = np.append(result.losses, result.loss)
    losses = losses[np.isfinite(losses)]
    if len(losses) < 2:
        return None
    line = Line(label="loss", x=np.arange(len(losses), dtype=float), y=losses)
    positive = bool((losses > 0).all()) and losses.max() > 100 * losses.min()
    return Chart(
        title="Loss on the way", x_label="step", y_label="loss", lines=(line,), log_y=positive
    )
