"""SD305: what the last bias would save, against the loss of a net that has such a bias."""

import math

import pytest
import torch
from torch.nn import functional
from trainings import constant, trained

from sounding.measure.test import Untested
from sounding.rules.initial_output import output_bias
from sounding.zoo.nets import mlp

BCE = functional.binary_cross_entropy_with_logits


def rare(examine, outputs=1):
    x, y = torch.randn(256, 8), (torch.arange(256) < 3).float()
    if outputs == 1:
        return examine(mlp(8, 16, 1), data=(x, y[:, None]), loss=BCE).readings
    return examine(mlp(8, 16, 2), data=(x, y.long())).readings


@pytest.mark.parametrize("outputs", [1, 2])
def test_rare_positives(outputs, examine):
    readings = rare(examine, outputs)
    with pytest.raises(Untested, match="constant"):
        output_bias(readings)
    finding = output_bias(trained(readings, constant=constant(0.056, 0.28, start=0.69)))
    assert (finding.code, finding.severity, finding.layers) == ("SD305", "problem", ("2",))
    assert finding.measured["zero_output_loss"] == pytest.approx(math.log(2))
    assert [r.name for r in finding.remedies] == ["set_output_bias"]
    assert "200 steps were too few to close the gap" in finding.message


def test_the_bias_that_it_names_is_the_best_constant():
    y = (torch.arange(256) < 3).float()[:, None]
    p = float(y.mean())
    bias = torch.full((256, 1), math.log(p / (1 - p)))
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert float(BCE(bias, y)) == pytest.approx(entropy)
    assert float(BCE(bias + 0.1, y)) > entropy
    assert float(BCE(bias - 0.1, y)) > entropy


def test_targets_far_from_zero(examine):
    data = torch.randn(64, 8), 100 + torch.randn(64, 1)
    readings = examine(mlp(8, 16, 1), data=data, loss=functional.mse_loss).readings
    finding = output_bias(trained(readings, constant=constant(1.0, 400.0, start=1e4)))
    assert finding.message.endswith("begin with the last layer's bias at the mean of the targets")
    assert finding.measured["zero_output_loss"] == pytest.approx(1e4, rel=0.01)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (constant(0.056, 0.05, start=0.69), "the run ended at 0.05"),
        (constant(0.30, 0.60, start=0.69), "where the best constant has 0.3"),  # pixels, background
        (constant(0.056, 0.28, start=9.0), "the size of the outputs"),  # SD304
        (constant(0.056, 2.00, start=0.69), "training made it no better"),
        (constant(1e-9, 1e-2, start=0.69), "the targets are all the same"),  # SD408
    ],
)
def test_refuted(made, said, examine):
    assert output_bias(trained(rare(examine), constant=made)).endswith(said)


def test_silent_on_balanced_classes_and_centred_targets(examine):
    assert output_bias(examine(mlp(64, 16, 10)).readings) is None
    data = torch.randn(64, 8), torch.randn(64, 1)
    readings = examine(mlp(8, 16, 1), data=data, loss=functional.mse_loss).readings
    assert output_bias(readings) is None
