"""The one number that decides: the limits themselves, and what the log-gain is blind to.

Scaling the loss, naming the units otherwise or shuffling the batch changes no diagnosis.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from sounding.checkup import checkup
from sounding.data import digits
from sounding.result import Series
from sounding.rules.depth import Gain, gradient_gain, learned, severity, signal_gain
from sounding.rules.harm import explained, relief
from sounding.zoo.nets import mlp

DEEP = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
shortly = settings(max_examples=8, deadline=None)


@pytest.mark.parametrize(
    ("total", "adaptive", "expected"),
    [
        (-2.9, False, None), (-3.1, False, "caution"), (-6.1, False, "problem"),
        (-5.9, True, None), (-6.1, True, "caution"), (-12.1, True, "problem"),
        (-5.9, None, None), (-6.1, None, "problem"),
        (2.9, True, None), (3.1, True, "caution"), (6.1, True, "problem"),
        (3.1, None, "caution"), (6.1, False, "problem"),
        (-math.inf, True, "problem"), (math.nan, False, "problem"),
    ],
)  # fmt: skip
def test_the_limits(total, adaptive, expected):
    assert severity(total, adaptive=adaptive) == expected


@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(-30, 30))
def test_what_is_excused_never_turns_the_gain_around(total, outlier, pooled):
    gain = Gain(
        total=total, factor=1.0, factor_error=0.0, layers=(), outlier=outlier, pooled=pooled
    )
    assert gain.judged * total >= 0


def test_learning_is_a_fall_by_half():
    def after(values, readings):
        steps = np.arange(len(values))
        series = Series(quantity="training loss", unit="", steps=steps, values=np.array(values))
        return learned(dataclasses.replace(readings, history=series))

    x, y = digits().train
    readings = checkup(mlp(64, 32, 10), functional.cross_entropy, (x[:32], y[:32])).readings
    assert learned(readings) is None
    assert after(np.linspace(2.3, 0.5, 100), readings).startswith("the loss fell from 2.2")
    assert after(np.linspace(2.3, 2.0, 100), readings) is None  # what a bias alone can bring
    assert after([2.3, 0.1], readings) is None  # too short to tell
    assert after(np.append(np.linspace(2.3, 0.5, 99), np.nan), readings) is None
    assert after(np.random.default_rng(0).normal(1, 1, 100), readings) is None


@pytest.mark.parametrize(("level", "said"), [(2.3, True), (0.4, False), (0.5, True)])
def test_a_fall_that_ends_above_the_best_constant_is_no_learning(ran, level, said):
    steps = np.arange(100)
    fall = np.linspace(1e6, 0.5, 100)
    series = Series(quantity="training loss", unit="", steps=steps, values=fall)
    readings = ran(loss=fall, constant=(level, 0.5))
    assert (learned(dataclasses.replace(readings, history=series)) is not None) == said


@pytest.mark.parametrize(
    ("end", "changed", "harmful"),
    [
        (math.nan, 7.0, True),  # a quarter of the first loss, 10, is to be won by what diverged
        (math.nan, 9.0, False),
        (2.2, 1.5, True),  # the run itself ended at 2.2: a quarter of 2.3 is to be won from there
        (2.2, 1.7, False),
        (2.2, 9.0, False),
    ],
)
def test_a_fork_that_diverges_where_the_run_did_not_is_judged_by_its_end(
    ran, end, changed, harmful
):
    fork = {"as_is": math.inf, "changed": changed, "difference": math.inf, "error": 0.0}
    fork |= {"start": 10.0 if changed > 2 else 2.4, "steps": 200.0}
    found = relief(ran(constant=(2.3, end), tests={"slower": fork}), "slower")
    assert found.harmful == harmful


def test_a_floor_counts_as_nothing_to_be_won(ran):
    """Of 32.5 a perfect prediction leaves 13.7: 5.4 is more than a quarter of 18.8, not of 32.5."""
    readings = ran(constant=(32.5, 32.6), tests={"slower": (32.6, 27.2)})
    assert not relief(readings, "slower").harmful
    known = readings.tests["constant"]
    floored = dataclasses.replace(known, values=known.values | {"floor": 13.7})
    readings = dataclasses.replace(readings, tests=readings.tests | {"constant": floored})
    assert relief(readings, "slower").harmful
    half = dataclasses.replace(floored, values=floored.values | {"now_loss": 23.1})
    assert explained(half) == pytest.approx(0.5)


# -- invariances -----------------------------------------------------------------------------------


def diagnosis(net, batch, loss=functional.cross_entropy):
    exam = checkup(net, loss, batch)
    codes = [(f.code, f.severity, f.because) for f in exam.findings]
    return codes, signal_gain(exam.readings).total, gradient_gain(exam.readings).total


def built(kind, depth, seed):
    torch.manual_seed(seed)
    return mlp(64, *[48] * (depth - 1), 10, activation=DEEP[kind])


def digits_batch(rows=32):
    x, y = digits().train
    return x[:rows], y[:rows]


nets = (st.sampled_from(sorted(DEEP)), st.integers(3, 14), st.integers(0, 1000))


@shortly
@given(*nets, st.floats(-4, 4))
def test_the_loss_may_be_rescaled(kind, depth, seed, power):
    """The gradients all scale alike, by a power of ten here."""
    net, batch = built(kind, depth, seed), digits_batch()
    codes, signal, gradient = diagnosis(net, batch)

    def scaled(output, target):
        return functional.cross_entropy(output, target) * 10**power

    after = diagnosis(net, batch, scaled)
    assert after[0] == codes
    assert after[1] == signal
    assert after[2] == pytest.approx(gradient, abs=1e-4)


@shortly
@given(*nets)
def test_units_may_be_permuted(kind, depth, seed):
    net, batch = built(kind, depth, seed), digits_batch()
    before = diagnosis(net, batch)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for below, above in itertools.pairwise(layers):
            order = torch.randperm(below.out_features)
            below.weight.copy_(below.weight[order])
            below.bias.copy_(below.bias[order])
            above.weight.copy_(above.weight[:, order])
    after = diagnosis(net, batch)
    assert after[0] == before[0]
    # the order of sums changes; where the signal is lost in rounding it matters
    if before[1] > -10:
        assert after[1:] == pytest.approx(before[1:], abs=1e-3)


@shortly
@given(*nets)
def test_the_batch_may_be_shuffled(kind, depth, seed):
    """Of 32 rows all are sampled, so that only the order of sums changes."""
    net, (x, y) = built(kind, depth, seed), digits_batch()
    order = torch.randperm(len(x))
    before, after = diagnosis(net, (x, y)), diagnosis(net, (x[order], y[order]))
    assert after[0] == before[0]
    if before[1] > -10:
        assert after[1:] == pytest.approx(before[1:], abs=1e-3)


@shortly
@given(st.integers(3, 14), st.integers(0, 1000), st.floats(0.2, 5.0))
def test_a_relu_net_may_be_rescaled_layer_by_layer(depth, seed, factor):
    """W2 relu(W1 x) = (W2 / a) relu(a W1 x): what is moved from a layer to the next is not lost.

    The ends are left alone, because the gain runs from the first layer's output to the last one's.
    """
    torch.manual_seed(seed)
    net = mlp(64, *[48] * depth, 10)
    batch = digits_batch()
    before = diagnosis(net, batch)
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        layers[1].weight.mul_(factor)
        layers[1].bias.mul_(factor)
        layers[2].weight.div_(factor)
    after = diagnosis(net, batch)
    assert after[1:] == pytest.approx(before[1:], abs=1e-3)
