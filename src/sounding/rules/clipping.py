"""SD506, SD507: rare huge gradients, and clipping that does something else than it should."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.course import Course
from sounding.measure.readings import Readings
from sounding.measure.test import Test
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, QUARTER, explained, relief, watched, where_made

BEFORE, LATELY = 8, 256  # steps, at least and at most, that show what is usual
CHANCE = 0.01  # that a run of usual steps holds one as large
ALWAYS = 0.9  # of the steps clipped: what is left of the gradient is its direction
SAME = 0.01  # relative: one factor at all steps, and the 1e-6 that torch adds to a norm


def gradient_spikes(readings: Readings) -> Finding | str | None:
    """SD506: a gradient far outside of what the steps before it show, and a loss that is ruined.

    The norms of the steps before are summarised by median and median deviation of their logarithm;
    were they lognormal, a run of S steps would hold one beyond sqrt(2 ln(S / 0.01)) deviations once
    in a hundred runs. Most of the way from the usual size to beyond that, in logarithms, must be
    gone in one step; what an unstable learning rate does grows over several. Then the median loss
    behind it stays above twice the one before, or is no number. Where it does not, or the spike
    comes so early that nothing is usual yet, the fork with clipped gradients decides; where that
    fork is ruined as well, it was not for want of clipping.
    """
    course = watched(readings)
    at = _spike(course, BEFORE)
    if at is not None and _gradual(readings, at):
        return f"the gradient jumped at step {at}, but what was learnt was lost over several steps"
    if at is not None:
        before, after = _around(course, at)
        if not after - before <= abs(before):
            if _ruined(readings):
                return f"the gradient jumped at step {at}, but with clipping the loss does so too"
            then = f"{after:.3g}" if math.isfinite(after) else "no number"
            said = f"the loss behind it is {then} instead of {before:.3g}"
            return _spiked(course, at, said, {"loss": after}, {"loss": before})
    at = _spike(course, 1) if at is None else at
    if at is None or not explained(readings.test("constant")) < HALF:
        return None if at is None else f"the gradient jumped at step {at}, but the run learns"
    return _clipped(readings, at)


def _gradual(readings: Readings, at: int) -> bool:
    """Whether the steps around this one, made again, show that no single one did the harm."""
    test = readings.tests.get("relapse")
    return test is not None and not test.failed and test["step"] >= at and test["share"] <= HALF


def _ruined(readings: Readings) -> bool:
    """Whether the median loss ends above the best constant's with clipping and without."""
    tests = where_made(readings, lambda: (readings.test("constant"), readings.test("clipped")))
    if tests is None:
        return False
    level = tests[0]["constant_loss"]
    return all(_typical(curve) > level for curve in tests[1].curves.values())


def _clipped(readings: Readings, at: int) -> Finding | str:
    """Decided by the fork whose gradients are clipped to the median of their norms.

    By the median loss of both arms, because batches that make spikes have a large loss in both.
    """
    constant, fork = readings.test("constant"), readings.test("clipped")
    level, end = constant["constant_loss"], constant["now_loss"]
    as_is, changed = (_typical(fork.curves[arm]) for arm in ("as_is", "changed"))
    reached = min([x for x in (as_is, end) if math.isfinite(x)], default=level)
    gain, said = reached - changed, f"with all gradients clipped the median loss is {changed:.3g}"
    if not (changed < level and gain > QUARTER * level):
        return f"the gradient jumped at step {at}, but {said} instead of {reached:.3g}"
    said += f" in the end instead of {as_is:.3g}"
    return _spiked(watched(readings), at, said, {"loss": as_is}, {"loss": changed})


def _spiked(
    course: Course, at: int, said: str, measured: dict[str, float], expected: dict[str, float]
) -> Finding:
    norms = course.gradient_norm
    ratio = float(norms[at] / np.nanmedian(norms[:at]))
    bound = float(f"{np.nanquantile(norms[:at], 0.9):.3g}")
    return Finding(
        code="SD506",
        name="gradient-spikes",
        severity="problem",
        message=(
            f"at step {at} the gradient's norm is {norms[at]:.3g}, {ratio:.3g} times the median of "
            f"the steps before, and {said}; clip it: clip_grad_norm_(model.parameters(), "
            f"{bound:g}) between backward and step"
        ),
        layers=(),
        source="",
        measured=measured | {"norm_over_median": ratio},
        expected=expected | {"norm_over_median": 1.0},
        confidence="measured",
        remedies=(Remedy(name="clip_norm", arguments={"bound": bound}, touches="recipe"),),
    )


def clipping_sets_the_rate(readings: Readings) -> Finding | str | None:
    """SD507: gradients are clipped before they are unscaled, or to a bound that stops the training.

    The first is exact: the norm that clipping leaves is its bound; at the step it is smaller by one
    and the same factor every time, though nothing but the unscaling stands between. The second: at
    nearly every step the gradient is longer than the bound, so gradient descent takes steps of
    lr x bound whatever the loss does, which may be meant; the fork without the clipping decides.
    Clipping behind the step is exact too; it is a problem where the run came to nothing.
    What divides the gradient by its own size does not feel a bound that is always reached. Clipping
    by value is judged by the run without it, begun again.
    """
    course = watched(readings)
    if readings.loop is not None and 2 * readings.loop.clipped_late > course.steps >= BEFORE:
        return _late(readings, course)
    if not np.isfinite(course.bound).any():
        return _by_value(readings, course)
    known = (course.clipped_from > course.bound) & np.isfinite(course.gradient_norm)
    looked = np.isfinite(course.gradient_norm)
    share = float(known.sum() / max(looked.sum(), 1))
    if known.sum() < BEFORE or share < HALF:
        return None
    constant = readings.test("constant")
    factors = course.bound[known] / course.gradient_norm[known]
    factor = float(np.median(factors))
    if factor < 2 or np.ptp(np.log(factors)) > SAME:
        return _bounded(readings, course, share, constant)
    if explained(constant) >= HALF:
        return f"gradients are {factor:.3g} times smaller than their bound, but the run learns"
    bound = float(np.median(course.bound[known]))
    return Finding(
        code="SD507",
        name="clipping-sets-the-rate",
        severity="problem",
        message=(
            f"gradients are clipped to {bound:.3g} before they are unscaled: at the step their "
            f"norm is {bound / factor:.3g}, always {factor:.6g} times smaller, so nothing moves "
            f"(loss {constant['start_loss']:.4g} -> {constant['now_loss']:.4g}); call "
            "scaler.unscale_(optimizer) before clip_grad_norm_"
        ),
        layers=(),
        source="",
        measured={"norm_at_step": bound / factor, "clipped_share": share},
        expected={"norm_at_step": bound},
        confidence="exact",
    )


def _late(readings: Readings, course: Course) -> Finding:
    late = readings.loop.clipped_late if readings.loop is not None else 0
    ended = course.loss[-1]
    harmful = not math.isfinite(ended) or explained(readings.test("constant")) < HALF
    return Finding(
        code="SD507",
        name="clipping-sets-the-rate",
        severity="problem" if harmful else "caution",
        message=f"gradients are clipped {late} times behind optimizer.step(), when they are used "
        "up, and never before: the steps are made with the gradients as they are; call "
        "clip_grad_norm_ between backward and step",
        layers=(),
        source="",
        measured={"clipped_behind_the_step": float(late)},
        expected={"clipped_behind_the_step": 0.0},
        confidence="exact",
        remedies=(Remedy(name="clip_norm", arguments={"bound": 1.0}, touches="recipe"),),
    )


def _bounded(
    readings: Readings, course: Course, share: float, constant: Test
) -> Finding | str | None:
    """Clipping at nearly every step, of an optimiser that feels it, in a run that hardly learns."""
    adaptive = readings.optimiser is None or readings.optimiser.adaptive
    if adaptive or share < ALWAYS or explained(constant) >= HALF:
        return None
    found = relief(readings, "unclipped")
    if not found.harmful:
        return f"clipping is active at {share:.0%} of the steps, but without it {found.said}"
    bound, norm = float(np.nanmedian(course.bound)), float(np.nanmedian(course.clipped_from))
    lr = float(course.lr[0])
    return Finding(
        code="SD507",
        name="clipping-sets-the-rate",
        severity="problem",
        message=(
            f"gradients of norm {norm:.3g} are clipped to {bound:.3g} at {share:.0%} of the steps, "
            f"so each of them is {lr * bound:.2g} long whatever the loss does; without clipping "
            f"{found.said}; take a bound of {10 * norm:.2g}, which rare ones exceed"
        ),
        layers=(),
        source="",
        measured=found.measured | {"clipped_share": share, "norm_over_bound": norm / bound},
        expected=found.expected | {"clipped_share": 0.1},
        confidence="measured",
        remedies=(Remedy(name="scale_lr", arguments={"factor": norm / bound}, touches="recipe"),),
    )


def _by_value(readings: Readings, course: Course) -> Finding | str | None:
    """Clipping by value that shortens nearly every gradient, in a run that hardly learns."""
    cut = course.gradient_norm < course.clipped_from * (1 - SAME)
    looked = np.isfinite(course.clipped_from)
    if not looked.any():
        raise NotApplicable("nothing is clipped")
    share = float(cut.sum() / looked.sum())
    if cut.sum() < BEFORE or share < HALF or explained(readings.test("constant")) >= HALF:
        return None
    found = relief(readings, "replayed")
    before, after = np.median(course.clipped_from[cut]), np.median(course.gradient_norm[cut])
    said = f"clipping by value takes gradients of norm {before:.3g} to {after:.3g}"
    if not found.harmful:
        return f"{said} at {share:.0%} of the steps, but without it {found.said}"
    return Finding(
        code="SD507",
        name="clipping-sets-the-rate",
        severity="problem",
        message=(
            f"{said} at {share:.0%} of the steps; begun again without it, {found.said}; clip by "
            f"the norm, clip_grad_norm_(model.parameters(), {10 * before:.2g}), which rare ones "
            "exceed"
        ),
        layers=(),
        source="",
        measured=found.measured | {"clipped_share": share, "norm_at_step": float(after)},
        expected=found.expected | {"norm_at_step": float(before)},
        confidence="measured",
    )


def _spike(course: Course, least: int) -> int | None:
    """The first step, behind at least so many, whose gradient jumps out of the usual."""
    limit = math.sqrt(2 * math.log(max(course.steps, 2) / CHANCE))
    known = np.flatnonzero(course.gradient_norm > 0)  # nan: not measured
    logs = np.log(course.gradient_norm[known])
    with np.errstate(invalid="ignore"):
        jumps = np.diff(logs, prepend=logs[:1])
    for at in np.flatnonzero(jumps > HALF * math.log(10)):
        past = logs[max(0, at - LATELY) : at]
        past = past[np.isfinite(past)]
        if len(past) < least:
            continue
        middle = float(np.median(past))
        width = max(1.4826 * float(np.median(np.abs(past - middle))), 0.1)
        excess = logs[at] - middle
        if excess > max(limit * width, math.log(10)) and jumps[at] > HALF * excess:
            return int(known[at])
    return None


def _around(course: Course, at: int) -> tuple[float, float]:
    """Median loss before step `at` and behind it, to the end."""
    behind = course.loss[at + 1 :]
    after = float(np.median(behind)) if len(behind) and np.isfinite(behind).all() else math.inf
    return float(np.median(course.loss[max(0, at - 50) : at])), after


def _typical(losses: np.ndarray) -> float:
    """Median of the last quarter."""
    return float(np.median(losses[-max(len(losses) // 4, 3) :]))
