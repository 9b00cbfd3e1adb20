"""SD205: what tells inputs apart, against theory, and where the rms says nothing of it.

Biases keep the rms up while the spread is lost; a rule that read the rms would stay silent.
"""

import math

import pytest
import torch
from torch import nn

from sounding.rules.depth import signal_gain
from sounding.theory import activation, predict
from sounding.zoo import samples
from sounding.zoo.nets import GraphConvolutions, Plain, drawn, mlp, normal
from sounding.zoo.sequences import VisionTransformer


def test_the_log_gain_is_theorys_although_biases_keep_the_rms(examine, batch):
    depth, width = 12, 256
    net = mlp(64, *[width] * (depth - 1), 10)
    readings = examine(net).readings
    x = batch[0]
    q0, spread = float((x**2).mean()), float((x - x.mean(0)).square().sum() / 63 / 64)
    layers = [(1 / 3, 1 / (3 * n), activation("relu")) for n in (64, *[width] * 10)]
    predicted = predict([*layers, (1 / 3, 1 / (3 * width), None)], q0=q0, c0=1 - spread / q0)
    expected = 0.5 * math.log(predicted.spread[-1] / predicted.spread[0])
    gain = signal_gain(readings)
    assert gain.total == pytest.approx(expected, abs=4 * 0.07 * 11**0.5)
    assert readings.signal.rms[readings.path[-1]] > 0.02  # no sign of it here


def test_fires_alone_where_samples_are_averaged(examine):
    net = GraphConvolutions(samples.graph(), 24)
    data = tuple(part[:128] for part in samples.flat_digits())
    exam = examine(net, data=data)
    assert exam.findings[0].code == "SD205"
    assert "SD201" not in [f.code for f in exam.findings]


def test_lost_in_rounding_is_a_problem_at_any_gain(find):
    net = drawn(Plain(64, *[64] * 6, 10, activation=lambda x: torch.relu(x) + 1e8), normal(2**0.5))
    finding, _ = find("SD205", net)
    assert finding.severity == "problem"
    assert finding.message == "the difference between inputs is lost in rounding from layers.1 on"


def test_exactly_zero(find):
    class Nothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.head = nn.ModuleList(nn.Linear(64, 64) for _ in range(3)), None
            self.head = nn.Linear(64, 10)

        def forward(self, x):
            for layer in self.layers:
                x = 0 * torch.tanh(layer(x))
            return self.head(x)

    finding, _ = find("SD205", Nothing())
    assert finding.severity == "problem"


def test_gradient_first_where_both_vanish(examine):
    net = drawn(mlp(64, *[64] * 10, 10, activation=nn.Sigmoid), normal(1.8462))
    first, second = examine(net).findings
    assert (first.code, second.code, second.because) == ("SD201", "SD205", "SD201")


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
def test_silent_behind_a_normalisation(find, norm):
    layers = []
    for _ in range(12):
        layers += [nn.Linear(64, 64), norm(64), nn.ReLU()]
    finding, outcome = find("SD205", nn.Sequential(*layers, nn.Linear(64, 10)))
    assert finding is None
    assert outcome.outcome == "passed"


def test_silent_on_a_head_that_starts_at_zero(find, batch):
    images = batch[0].view(-1, 1, 8, 8), batch[1]
    assert find("SD205", VisionTransformer(2), data=images)[0] is None


def test_not_applicable(find, batch):
    _, outcome = find("SD205", mlp(64, 64, 64, 10), data=(batch[0][:1], batch[1][:1]))
    assert outcome.outcome == "not applicable"
    assert "one sample" in outcome.reason
    assert find("SD205", mlp(64, 32, 10))[1].outcome == "not applicable"
