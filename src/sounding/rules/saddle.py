"""SD512: a training that stands still where the loss has a way down, but no slope."""

from __future__ import annotations

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, QUARTER, explained, watched


def saddle(readings: Readings) -> Finding | str | None:
    """SD512: nothing was learnt, the gradient is next to zero, and the loss curves downwards.

    Every net begins near directions that curve downwards; what makes a plateau of it is a gradient
    that leads nowhere. At the largest curvature L a step of gradient descent lowers the loss by
    |g|^2 / (2 L) at most; the suspicion is that as many such steps as the run had would not win
    QUARTER of the best constant's loss. One move along the direction of most negative curvature,
    and the same steps behind it, decide: they must win more than the whole run did.
    """
    course = watched(readings)
    constant = readings.test("constant")
    if constant["learned"] > ERRORS or not explained(constant) < HALF:
        return None
    signal = max(readings.test("noise")["signal"], 0.0)
    hessian = readings.test("saddle")
    smallest, largest = hessian["smallest"], hessian["largest"]
    steepest = signal / (2 * largest) if largest > 0 else 0.0
    if course.steps * steepest > QUARTER * abs(constant["constant_loss"]):
        return "nothing was learnt, but the gradient leads on"
    if not smallest < -ERRORS * hessian["residual"]:
        return f"no direction curves downwards: the smallest eigenvalue is {smallest:.2g}"
    fork = readings.test("escaped")
    clear = fork["difference"] > ERRORS * fork["error"]
    fall = constant["start_loss"] - constant["now_loss"]
    said = (
        f"after one move along it the loss is {fork['difference']:.3g} lower, where all "
        f"{course.steps} steps of the run won {fall:.3g}"
    )
    if not (clear and fork["difference"] > fall and fork["changed"] < constant["constant_loss"]):
        return f"the loss curves downwards ({smallest:.2g}), but {said}"
    return Finding(
        code="SD512",
        name="saddle",
        severity="problem",
        message=(
            f"the training stands still at a saddle: the gradient's squared norm is {signal:.2g} "
            f"and the smallest eigenvalue of the Hessian {smallest:.3g} ± "
            f"{hessian['residual']:.1g}; {said}; begin with larger random weights, add noise "
            "where the gradient is small, or take Adam"
        ),
        layers=(),
        source="",
        measured={"gradient_square": signal, "smallest_eigenvalue": smallest, "fall": fall},
        expected={"smallest_eigenvalue": 0.0, "fall": fork["difference"]},
        confidence="measured",
        remedies=(
            Remedy(name="reinitialise", arguments={"scheme": "kaiming"}, touches="weights"),
            Remedy(name="escape", touches="recipe"),
            Remedy(name="change_optimiser", arguments={"to": "adamw"}, touches="recipe"),
        ),
    )
