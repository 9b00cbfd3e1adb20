"""The depth chart as data: a wrong direction of travel or a wrong floor shows only here."""

import dataclasses
import math

import numpy as np
import pytest

from sounding.view.depth import caption, depth, finding, sums


def _curve(chart, label):
    return next(c for c in chart.curves if c.label == label)


def test_factors_of_the_sick_net_are_the_root_of_six(examples):
    chart = depth(examples.readings(bias_rms=0.08))
    for label in ("spread", "gradient"):
        curve = _curve(chart, label)
        assert curve.factor(curve.expected) == pytest.approx(1 / math.sqrt(6), rel=1e-9)
        assert curve.factor() == pytest.approx(1 / math.sqrt(6), rel=0.02)


def test_the_gradient_travels_from_the_last_layer_to_the_first(examples):
    first, last, layers = _curve(depth(examples.readings()), "gradient").ends()
    assert first > last
    assert layers == 29


def test_layers_below_the_rounding_of_the_dtype_do_not_count(examples):
    """Real nets with biases: the spread stops at 1e-9 because float32 cannot hold less."""
    readings = examples.readings(bias_rms=0.08)
    signal = readings.signal
    held = np.maximum(signal.spread, 2.0**-25 * signal.rms)
    readings = dataclasses.replace(readings, signal=dataclasses.replace(signal, spread=held))
    chart = depth(readings)
    curve = _curve(chart, "spread")
    assert curve.rounded().any()
    assert curve.factor() == pytest.approx(1 / math.sqrt(6), rel=0.02)
    assert curve.factor(curve.expected) == pytest.approx(1 / math.sqrt(6), rel=1e-9)
    first_lost = chart.layers[int(np.flatnonzero(curve.rounded())[0])]
    assert f"From {first_lost} on the spread is lost in rounding." in finding(chart)


def test_words_follow_the_numbers(examples):
    assert "0.408" in finding(depth(examples.readings()))
    assert "spread falls" in caption(depth(examples.readings()))
    assert "spread keeps its size" in caption(depth(examples.readings(factor=1.0)))
    assert "spread grows" in caption(depth(examples.readings(factor=1.5)))


def test_broken_calls_are_named(examples):
    readings = examples.readings()
    signal = dataclasses.replace(readings.signal, nonfinite=(readings.path[4],))
    chart = depth(dataclasses.replace(readings, signal=signal))
    assert "The signal is NaN or Inf at layers.8." in finding(chart)


def test_nothing_but_zeros_and_nan_is_said_not_raised(examples):
    readings = examples.readings(depth=3)
    signal = dataclasses.replace(
        readings.signal,
        rms=np.zeros_like(readings.signal.rms),
        spread=np.full_like(readings.signal.rms, math.nan),
    )
    bare = dataclasses.replace(readings, signal=signal, gradients=None, expectation=None)
    assert finding(depth(bare)) == "Forward, rms is zero throughout; spread is nowhere finite."


def test_sums_leave_out_absent_parts(examples):
    parts = sums(examples.readings().forward)
    assert set(parts) == {"weight", "activation"}
    assert parts["activation"] == pytest.approx(29 * math.log(math.sqrt(0.5)))
