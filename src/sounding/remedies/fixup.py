"""Fixup: the initial values that let residual nets without normalisation be deep."""

from __future__ import annotations

from collections.abc import Mapping

from sounding.remedies.selection import Steps, attention_weights, last_weight, layers
from sounding.result import NotApplicable


def fixup_factors(steps: Steps) -> Mapping[int, float]:
    """The factor on He's initial values for the calls inside residual branches, and for the last.

    Zhang, Dauphin and Ma, ICLR 2019: with L branches, all but the last of the m layers of a branch
    are scaled by L^(-1 / (2 m - 2)); the last one, and the net's last layer, become 0. The scalar
    biases and multipliers of that paper are no initial values and are not added.

    Raises:
        NotApplicable: If there is no residual branch of layers, or one has a normalisation or an
            attention in it.
    """
    found = [branch for index in range(len(steps)) if (branch := _branch(steps, index))]
    if not found:
        raise NotApplicable("no residual branch of linear layers or convolutions was seen")
    around = attention_weights(steps)
    if any(steps[at].role in ("normalisation", "attention") for branch in found for at in branch):
        raise NotApplicable("the residual branches are normalised; Fixup is for nets without")
    if any(steps[at].weight in around for branch in found for at in branch):
        raise NotApplicable("there are attentions in the residual branches; Fixup is not for these")
    weighted = set(layers(steps))
    factors = {last_weight(steps): 0.0}
    for branch in found:
        *inner, end = [at for at in branch if at in weighted]
        scale = len(found) ** (-1 / (2 * len(inner))) if inner else 0.0
        factors |= dict.fromkeys(inner, scale) | {end: 0.0}
    return factors


def _branch(steps: Steps, index: int) -> list[int]:
    """The calls of the branch that the sum `index` ends, in their order; [] for another call."""
    step = steps[index]
    if step.role != "skip" or step.operation != "add" or len(step.inputs) != 2:
        return []
    one, other = (_chain(steps, at) for at in step.inputs)
    weighted = set(layers(steps))
    sides = []
    for side, known in ((one, set(other)), (other, set(one))):
        before = [position for position, at in enumerate(side) if at in known]
        sides.append(side[: before[0]] if before else [])
    short, long = sorted(sides, key=lambda side: len(weighted.intersection(side)))
    count = len(weighted.intersection(long))
    return long[::-1] if count > len(weighted.intersection(short)) else []


def _chain(steps: Steps, at: int) -> list[int]:
    """The calls on the way back along the signal, latest first."""
    chain = []
    while at >= 0:
        chain.append(at)
        at = steps[at].main
    return chain
