"""Whether a training would have gone clearly better from weights drawn the usual way."""

from __future__ import annotations

import math
from typing import NamedTuple

from sounding.capture.operations import RECURRENT
from sounding.measure.readings import Call, Readings
from sounding.rules.harm import QUARTER, Relief, explained, relief, where_made

FORK = "redrawn"


class Odd(NamedTuple):
    """The weight that is farthest from what torch draws."""

    call: Call
    name: str
    ratio: float  # of its root mean square to the usual one


def better_redrawn(readings: Readings) -> Relief | None:
    """What the fork from newly drawn weights came to, where it ends clearly lower; else None.

    Made only where the run has left a quarter or more of what a constant leaves, and asked of the
    weights that the training began with.

    Raises:
        Untested: If the fork, or the best constant, is still to be made.
    """
    if readings.course is None or not readings.course.steps or readings.step:
        return None
    found = where_made(readings, lambda: _tried(readings))
    return found if found is not None and found.harmful else None


def _tried(readings: Readings) -> Relief | None:
    if explained(readings.test("constant")) >= 1 - QUARTER:
        return None
    return relief(readings, FORK)


def oddest(readings: Readings) -> Odd | None:
    """The weight whose size is farthest, by a factor, from what torch draws; None without one.

    Torch draws linear layers and convolutions with variance 1/(3 fan_in), and recurrent ones with
    1/(3 units); vectors of tables are compared with a length of 1, as in the fork.
    """
    found = []
    weights = readings.weights
    for name, moment in zip(weights.parameters, weights.second_moment, strict=True):
        call = next((c for c in readings.calls if name.rpartition(".")[0] == _owner(c)), None)
        count = 0.0 if call is None else _summed(call)
        if call is not None and 0 < moment * count < math.inf:
            found.append(Odd(call, name, math.sqrt(moment * count)))
    return max(found, key=lambda odd: abs(math.log(odd.ratio)), default=None)


def rate_alone(readings: Readings, redrawn: Relief, odd: Odd) -> str:
    """A sentence, where a lower rate does as much for weights that torch drew itself; else ''.

    Torch draws tables with a variance of 1, which suits most nets. Where a tenth of the rate ends
    as low from them as the rate as it is from shorter vectors, the rate is at fault.
    """
    if not odd.call.operation.startswith("embedding"):
        return ""
    slower = where_made(readings, lambda: relief(readings, "slower"))
    if slower is None or not slower.expected["loss"] <= redrawn.expected["loss"]:
        return ""
    return f"{odd.name} is as torch draws it, and with a tenth of the rate {slower.said}"


def _owner(call: Call) -> str:
    return call.weight.rpartition(".")[0] if call.weight else "\0"


def _summed(call: Call) -> float:
    """What the mean square of a weight is multiplied by to be 1 where it is as usual."""
    if call.operation.startswith("embedding"):
        return float(call.fan_out)
    return 3.0 * (call.units if call.operation in RECURRENT else call.fan_in)
