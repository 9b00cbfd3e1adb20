"""PyTorch's default: uniform moments by hand, chains against the factor 6."""

import math

import pytest
from torch import nn

from sounding.studies import study
from sounding.studies.claims import pytorch_default as default
from sounding.studies.lab import Lab


def test_a_layer_has_the_moments_of_the_uniform_law():
    run = default.fresh_layer("conv 2-d", seed=3)
    assert run["variance"] == pytest.approx(1, abs=0.03)
    assert run["of He's"] == pytest.approx(1 / 6, abs=0.005)
    assert run["largest"] <= 1 + 1e-6
    assert run["twin"] == 0


def test_without_biases_a_layer_divides_by_six():
    """Width 256: the log of one layer's ratio has deviation 0.15; mean of 7 layers and 2 nets."""
    for seed in (0, 1):
        signal = default.chain(False, 256, 8, seed)["signal"]
        assert math.log(signal[0] / signal[-1]) / 7 == pytest.approx(math.log(6), abs=0.2)
        assert signal[0] == pytest.approx(1 / 3, rel=0.1)


def test_he_weights_that_are_called_default_are_refuted(monkeypatch):
    def he():
        layer = nn.Linear(100, 100)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return layer

    monkeypatch.setattr(default, "LAYERS", {"linear": he})
    verdicts, _ = default.quick(Lab(), width=32, depth=6, seeds=(0, 1))
    assert verdicts[0].outcome == "refuted"
    wrong = next(v for v in verdicts if v.statement.startswith("'the default is He's"))
    assert wrong.outcome == "refuted"


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("pytorch-default").verdicts} == {"supported"}
