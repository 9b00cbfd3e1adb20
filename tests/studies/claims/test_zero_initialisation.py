"""Symmetric weights: gradients by hand, and a verdict that falls when the symmetry is broken."""

import pytest
import torch
from torch import nn

from sounding.studies import study
from sounding.studies.claims import zero_initialisation as zero
from sounding.studies.lab import Lab


def test_the_bias_at_zero_gets_the_share_of_each_class():
    """Softmax at zero is uniform: the gradient is 1/3 minus the share of the class."""
    run = zero.gradient_at_zero("tanh", 3, seed=0)
    assert run["rest"] == run["weights"] == 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        zero.dense_net([8, 6, 6, 3], "tanh")
        torch.randn(16, 8, dtype=torch.float64)
        labels = torch.randint(0, 3, (16,))
    shares = labels.bincount(minlength=3) / 16
    assert run["bias"] == pytest.approx(float((1 / 3 - shares).abs().max()))


def test_a_sigmoid_sends_half_of_it_to_the_last_weights():
    run = zero.gradient_at_zero("sigmoid", 2, seed=1)
    assert run["weights"] == pytest.approx(run["bias"] / 2)
    assert run["rest"] == 0


def test_symmetry_is_measured_over_rows_of_hidden_layers():
    net = zero.symmetric_net(zero.CONSTANT, "tanh")
    assert zero.symmetry(net) == {"largest weight": 0.1, "difference of units": 0.0}
    with torch.no_grad():
        net[2].weight[3, 4] = 0.2
    assert zero.symmetry(net)["difference of units"] == pytest.approx(0.5)


SMALL = {"depths": (2,), "seeds": (0, 1), "steps": 20, "optimisers": ("sgd",)}


def test_the_claim_holds_in_a_few_steps():
    verdicts, charts = zero.quick(Lab(), **SMALL)
    assert [v.outcome for v in verdicts[:-1]] == ["supported"] * 6
    assert [len(line.x) for line in charts[0].lines] == [2, 2, 2]


def test_random_weights_that_are_called_equal_are_found_out(monkeypatch):
    def random(weights, activation):
        return zero.dense_net([64, 8, 8, 10], activation)

    monkeypatch.setattr(zero, "symmetric_net", random)
    verdicts, _ = zero.quick(Lab(), **SMALL)
    assert verdicts[0].outcome == "refuted"
    assert isinstance(random("zero", "tanh")[1], nn.Tanh)


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert [v.outcome for v in study("zero-initialisation").verdicts] == ["supported"] * 7
