"""SD401 to SD404, SD414: the loss is given something else than it expects. All exact."""

from __future__ import annotations

import math

import numpy as np

from sounding.capture.operations import ACTIVATIONS
from sounding.measure.loss_call import LossCall
from sounding.measure.readings import Readings
from sounding.rules.comparison import called, contradiction, maker, sums_to_one, target_of
from sounding.rules.finding import Finding

# What can come out of these, as scores that a sigmoid is applied to once more.
SQUASHED = {
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "logsigmoid": (-math.inf, 0.0),
    "log_sigmoid": (-math.inf, 0.0),
    "log_softmax": (-math.inf, 0.0),
}
SOFTMAXES = ("softmax", "log_softmax")
OFFSET = 0.01  # that is added inside of a logarithm to keep it finite: log(1 + 0.01) at most
PRODUCTS = ("matmul", "bmm", "baddbmm", "einsum", "mul")
VIEWS = ("unbind", "getitem", "unsqueeze", "split", "chunk", "select", "transpose", "expand")
SAME_OUTPUT = 1e-6  # of the inputs' spread: rounding
MIXES = 1e-3  # of the output's deviation: rounding is 1e-6, a softmax over N rows 1/sqrt(N)


def softmax_before_cross_entropy(readings: Readings) -> Finding | str | None:
    """SD401: rows of the scores sum to 1, so cross_entropy applies a second softmax.

    Scores between 0 and 1 that sum to 1 give the right class e / (e + K - 1) at most, whatever the
    weights are; the loss, also a weighted or smoothed one, stays above ln(e + K - 1) - 1.
    """
    call = called(readings)
    if call.function != "cross_entropy" or not _probabilities(call):
        return None
    floor = math.log(math.e + call.classes - 1) - 1
    return contradiction(
        readings,
        call,
        "SD401",
        "softmax-before-cross-entropy",
        f"the scores given to cross_entropy are probabilities, whose rows sum to 1: its own "
        f"softmax of them keeps the loss above ln(e + {call.classes - 1}) - 1 = {floor:.3g}; "
        f"drop the {call.operation}",
        {"row_sum_minus_1": call.row_sums, "lowest_loss": floor},
        {"lowest_loss": 0.0},
        remove=call.operation == "softmax",
    )


def sigmoid_before_bce_with_logits(readings: Readings) -> Finding | str | None:
    """SD402: the logits are what a sigmoid put out, so a second one is applied to them.

    Logits in [a, b] give probabilities in [sigmoid(a), sigmoid(b)] only.
    """
    call = called(readings)
    if call.function != "binary_cross_entropy_with_logits" or call.operation not in SQUASHED:
        return None
    low, high = (sigmoid(x) for x in SQUASHED[call.operation])
    floor = lowest_binary(call, SQUASHED[call.operation])
    least = f", and the loss above {floor:.3g}" if floor > 0 else ""
    return contradiction(
        readings,
        call,
        "SD402",
        "sigmoid-before-bce-with-logits",
        f"the logits given to {call.function} come out of a {call.operation}: its own sigmoid of "
        f"them keeps every probability between {low:.3g} and {high:.3g}{least}; "
        f"drop the {call.operation}",
        {"lowest_probability": low, "highest_probability": high, "lowest_loss": floor},
        {"lowest_probability": 0.0, "highest_probability": 1.0, "lowest_loss": 0.0},
        remove=True,
    )


def constant_output(readings: Readings) -> Finding | str | None:
    """SD403: a softmax over one single unit, which is 1 whatever the unit says.

    Also where cross_entropy is given one class: its loss is 0 from the first step on; and where the
    last call, whatever it is, makes one number out of inputs that differ, as a layer norm over one
    feature does.
    """
    call = called(readings)
    output, rows = call.output, call.output.shape[0]
    one = {"softmax": 1.0, "log_softmax": 0.0}.get(call.operation)
    stuck = one is not None and output.low == output.high == one and rows > 1
    alone = call.function == "cross_entropy" and call.classes == 1 and len(output.shape) > 1
    if not stuck and not alone:
        return _erased(readings, call)
    what = f"all {rows} outputs are exactly {one:.0f}" if stuck else "the loss is 0"
    return contradiction(
        readings,
        call,
        "SD403",
        "constant-output",
        f"a softmax over one output unit is 1 whatever the weights are: {what}, and no weight "
        "gets a gradient; put a sigmoid and a binary cross-entropy there, or one unit a class",
        {"output_units": 1.0, "output_std": output.std if stuck else 0.0},
        {"output_units": 2.0},
    )


def _erased(readings: Readings, call: LossCall) -> Finding | None:
    """A last call without a sum of its own whose outputs agree, though its inputs do not.

    Activations are none: they look at each number alone, and may be saturated or dead.
    """
    made = maker(readings, call)
    if call.silent is None or not call.silent.all() or made is None or made.main < 0:
        return None
    if made.operation in ACTIVATIONS:
        return None
    index = readings.calls.index(made)
    spread, before = readings.signal.spread[index], readings.signal.spread[made.main]
    if made.fan_in or not before > 0 or not spread <= SAME_OUTPUT * before:
        return None
    return contradiction(
        readings,
        call,
        "SD403",
        "constant-output",
        f"{made.name} ({made.operation}) makes the same output of all {call.output.shape[0]} "
        "samples, though its inputs differ: normalising or comparing a single number leaves "
        "nothing of it; take it away, or give it more features",
        {"output_std": call.output.std, "input_spread": float(before)},
        {"output_std": float(before)},
    )


def softmax_over_batch(readings: Readings) -> Finding | str | None:
    """SD404: probabilities that sum to 1 over the samples, not over the classes.

    From the numbers: the columns of the output sum to 1, the rows do not. A score of every sample
    against every other one (N x N, each sample its own class) is normalised so by right. Inside the
    model, a softmax along the first dimension whose result weights a sum is suspected, and the test
    'mixing' decides: whether an output changes when the other samples of its batch do.
    """
    call = called(readings)
    if _over_samples(call) and not matched(call):
        message = (
            f"the {call.operation} sums to 1 over the {call.output.shape[0]} samples of the batch, "
            f"not over the {call.classes} classes: a prediction depends on the other samples; "
            "take dim=1"
        )
        return _unnormalised(readings, call, message)
    if _over_something_else(call):
        message = (
            f"the log_softmax runs along dimension {call.dimension} or its result was reshaped: "
            f"over the {call.classes} classes the probabilities do not sum to 1; "
            "take the dimension of the classes"
        )
        return _unnormalised(readings, call, message)
    return _inside(readings, call)


def missing_log(readings: Readings) -> Finding | str | None:
    """SD414: nll_loss or kl_div is given numbers above 0, which are no log-probabilities."""
    call = called(readings)
    if call.function not in ("nll_loss", "kl_div") or call.output.high <= OFFSET:
        return None
    if call.function == "kl_div" and target_of(call).low < 0:
        return None  # the other way around: the model's distribution is the second one
    output = call.output
    plain = output.low >= 0 and output.high <= 1 + OFFSET
    what = "probabilities between 0 and 1" if plain else f"scores of up to {output.high:.3g}"
    effect = (
        "instead of ln p the loss takes p itself, whose gradient vanishes with p"
        if plain
        else "the loss has no lower bound"
    )
    soft = call.operation == "softmax"
    cure = "put log_softmax for the softmax" if soft else "apply log_softmax before it"
    return contradiction(
        readings,
        call,
        "SD414",
        "missing-log",
        f"{call.function} expects log-probabilities, which are never above 0, and is given {what}: "
        f"{effect}; {cure}",
        {"highest_output": output.high},
        {"highest_output": 0.0},
    )


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def lowest_binary(call: LossCall, span: tuple[float, float]) -> float:
    """The least binary cross-entropy that logits in `span` can reach on this batch.

    For each label the best end of the span; 0 where weights make it another number.
    """
    target = target_of(call)
    if call.weighted or target.low < 0 or target.high > 1:
        return 0.0
    positive, negative = (math.log1p(math.exp(-x)) for x in (span[1], -span[0]))
    return target.mean * positive + (1 - target.mean) * negative


def matched(call: LossCall) -> bool:
    """Whether each sample is its own class, as where samples are compared with each other."""
    if call.classes != call.output.shape[0]:
        return False
    return call.counts is None or bool(np.all(call.counts == 1))


def _probabilities(call: LossCall) -> bool:
    if call.classes < 2 or call.output.low < 0:
        return False
    return sums_to_one(call, call.row_sums, call.classes)


def _weights_a_product(readings: Readings, index: int) -> bool:
    """Whether this call's result is a factor of a product, as it is or taken apart before."""
    parts = {index}
    for i, call in enumerate(readings.calls):
        if parts & set(call.inputs):
            if call.operation in PRODUCTS:
                return True
            if call.operation in VIEWS:
                parts.add(i)
    return False


def _unnormalised(readings: Readings, call: LossCall, message: str) -> Finding:
    measured = {"row_sum_minus_1": call.row_sums, "column_sum_minus_1": call.column_sums}
    expected = {"row_sum_minus_1": 0.0}
    return contradiction(readings, call, "SD404", "softmax-over-batch", message, measured, expected)


def _over_samples(call: LossCall) -> bool:
    rows = call.output.shape[0]
    if call.classes < 2 or rows < 2 or len(call.output.shape) < 2:
        return False
    columns = sums_to_one(call, call.column_sums, rows)
    return columns and not sums_to_one(call, call.row_sums, call.classes)


def _over_something_else(call: LossCall) -> bool:
    return (
        call.function == "nll_loss"
        and call.operation == "log_softmax"
        and call.classes > 1
        and call.output.high <= 0
        and not sums_to_one(call, call.row_sums, call.classes)
        and not matched(call)
    )


def _inside(readings: Readings, call: LossCall) -> Finding | str | None:
    """A softmax over the first dimension inside the model, whose result weights a sum."""
    calls = readings.calls
    found = [
        i
        for i, one in enumerate(calls)
        if one.operation == "softmax"
        and one.arguments.get("dimension") == 0
        and _weights_a_product(readings, i)
    ]
    rows = call.output.shape[0]
    if not found or readings.batch < 2 or rows % readings.batch:
        return None
    mixed = readings.test("mixing")["eval"]
    named = calls[found[0]]
    if not mixed > MIXES:
        return (
            f"{named.name} is a softmax along dimension 0, yet no sample changes another's output"
        )
    return Finding(
        code="SD404",
        name="softmax-over-batch",
        severity="problem",
        message=f"{named.name} is a softmax along dimension 0, the samples: exchanging the others "
        f"of its batch changes an output by {mixed:.2g} of its deviation; take the last dimension",
        layers=tuple(calls[i].name for i in found),
        source=named.source,
        measured={"change": mixed},
        expected={"change": 0.0},
        confidence="exact",
    )
