"""SD510, SD511: two settings of Adam and its kin that undo what they are for."""

from __future__ import annotations

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, explained, relief, watched

EPSILON = 1e-8  # of Adam (Kingma and Ba 2015), and what the test 'small_epsilon' takes


def epsilon_dominates(readings: Readings) -> Finding | str | None:
    """SD510: the optimiser's eps is larger than what it is added to, so it is gradient descent.

    An entry moves by lr m / (sqrt(v) + eps), and sqrt(v) is the rms of its gradient. Where eps is
    the larger of the two, for more than half of the weight tensors, every step is that of gradient
    descent at the rate lr / eps. That may be meant: the fork with eps = 1e-8 decides.
    """
    watched(readings)
    eps = _adaptive(readings)
    sizes = _entries(readings)
    if eps <= EPSILON or not len(sizes) or not float(np.median(sizes)) < eps:
        return None
    if not explained(readings.test("constant")) < HALF:
        return f"eps {eps:.2g} exceeds the gradient's entries, but the run learns"
    found = relief(readings, "small_epsilon")
    if not found.harmful:
        return f"eps {eps:.2g} exceeds the gradient's entries, but 1e-8 does not end clearly lower"
    rms = float(np.median(sizes))
    return Finding(
        code="SD510",
        name="epsilon-dominates",
        severity="problem",
        message=(
            f"eps={eps:.3g} is {eps / rms:.3g} times the rms of a weight's gradient ({rms:.2g}) "
            f"that it is added to, so steps are as many times too short; with eps=1e-8 {found.said}"
        ),
        layers=(),
        source="",
        measured=found.measured | {"eps": eps, "gradient_rms": rms},
        expected=found.expected | {"eps": EPSILON},
        confidence="measured",
        remedies=(Remedy(name="set_epsilon", arguments={"value": EPSILON}, touches="recipe"),),
    )


def l2_in_adam(readings: Readings) -> Finding | str | None:
    """SD511: weight decay as a part of the gradient, which an adaptive optimiser then divides by.

    Added to the gradient, the decay of a weight whose own gradient is small is divided by little
    else than itself: the weight shrinks by about lr a step, whatever the decay. Suspected where the
    decay is the larger part of what the optimiser is given, in a run that learnt too little; AdamW
    with the same number decides.
    """
    watched(readings)
    _adaptive(readings)
    loop = readings.loop
    groups = () if loop is None or loop.decoupled else loop.groups
    decay = max((group.settings.get("weight_decay", 0.0) for group in groups), default=0.0)
    if not decay > 0:
        raise NotApplicable("there is no weight decay, or it acts on the weights themselves")
    pull, push = _norms(readings, decay)
    if not pull > push:
        return None
    if not explained(readings.test("constant")) < HALF:
        return f"the decay is {pull / push:.2g} times the gradient, but the run learns"
    found = relief(readings, "decoupled")
    if not found.harmful:
        return "the same decay on the weights themselves does not end clearly lower"
    return Finding(
        code="SD511",
        name="l2-in-adam",
        severity="problem",
        message=(
            f"weight decay {decay:.3g} is a part of the gradient, {pull / push:.3g} times as large "
            "as that of the loss, and is divided with it by the size of both; on the weights "
            f"themselves {found.said}; use torch.optim.AdamW"
        ),
        layers=(),
        source="",
        measured=found.measured | {"decay_over_gradient": pull / push},
        expected=found.expected | {"decay_over_gradient": 0.0},
        confidence="measured",
        remedies=(Remedy(name="decouple_decay", touches="recipe"),),
    )


def _adaptive(readings: Readings) -> float:
    """The eps of an adaptive optimiser, nan where it has none.

    Raises:
        NotApplicable: If the optimiser is not adaptive.
    """
    if readings.optimiser is None or not readings.optimiser.adaptive:
        raise NotApplicable("the optimiser does not divide by the gradient's size")
    return readings.optimiser.eps


def _entries(readings: Readings) -> np.ndarray:
    """Rms of an entry of each weight's gradient that has one.

    A tensor's size follows from norm and rms; of one that is zero, such as the head of a net that
    begins there, from its fans.
    """
    weights, gradients = readings.weights, readings.gradients
    if gradients is None:
        return np.zeros(0)
    shapes = zip(weights.second_moment, weights.fan_in * weights.units, strict=True)
    known = dict(zip(weights.parameters, shapes, strict=True))
    sizes = []
    for name, norm, length in zip(
        gradients.parameters, gradients.norm, gradients.weight_norm, strict=True
    ):
        moment, count = known.get(name, (0.0, 0.0))
        count = length**2 / moment if moment > 0 else count
        if norm > 0 and count > 0:
            sizes.append(norm / np.sqrt(count))
    return np.array(sizes)


def _norms(readings: Readings, decay: float) -> tuple[float, float]:
    """Norms of the decay term and of the loss's gradient, over all parameters."""
    gradients = readings.gradients
    if gradients is None:
        raise NotApplicable("no backward pass was recorded")
    known = np.isfinite(gradients.norm)
    pull = decay * float(np.linalg.norm(gradients.weight_norm[known]))
    return pull, float(np.linalg.norm(gradients.norm[known]))
