"""SD415: targets that a binary cross-entropy cannot stand, and labels that begin at 1."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import trained

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.targets import label_range
from sounding.zoo.nets import mlp

BCE = functional.binary_cross_entropy_with_logits


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.0, 1.0), (1.0, 2.0)])
def test_the_loss_has_no_floor(low, high, examine):
    y = torch.where(torch.arange(64)[:, None] % 2 > 0, high, low)
    assert float(BCE(1e4 * torch.ones(64, 1) * (1 if high > 1 else y), y)) < -1e3
    finding = label_range(examine(mlp(64, 8, 1), data=(torch.randn(64, 64), y), loss=BCE).readings)
    assert (finding.code, finding.severity, finding.confidence) == ("SD415", "problem", "exact")
    assert f"run from {low:.3g} to {high:.3g}" in finding.message
    assert finding.message.endswith("divide by 255" if high == 255 else "map them to 0 and 1")


@pytest.mark.parametrize("loss", [BCE, functional.binary_cross_entropy])
def test_silent_on_probabilities(loss, examine):
    net = nn.Sequential(mlp(64, 8, 1), nn.Sigmoid())
    readings = examine(net, data=(torch.randn(64, 64), torch.rand(64, 1)), loss=loss).readings
    assert label_range(readings) is None


def classified(examine, labels, outputs):
    x = torch.randn(len(labels), 16)
    return examine(mlp(16, 8, outputs), data=(x, labels)).readings


def test_labels_from_1(examine):
    labels = 1 + torch.arange(64) % 4
    readings = classified(examine, labels, 5)
    finding = label_range(readings)
    assert (finding.code, finding.severity) == ("SD415", "caution")
    assert "the labels run from 1 to 4 for 5 outputs" in finding.message
    recalls = {f"recall_{k}": 0.5 for k in range(5)}
    seen = {"pull": {"rows": 1.0}}
    assert label_range(trained(readings, classes=recalls, **seen)).endswith("0 occurs in others")
    del recalls["recall_0"]
    assert label_range(trained(readings, classes=recalls, **seen)).severity == "caution"
    with pytest.raises(Untested, match="classes"):
        label_range(trained(readings, **seen))


def test_silent_where_chance_explains_it(examine):
    few = classified(examine, 1 + torch.arange(16) % 4, 5)
    assert (1 - 1 / 5) ** 16 > 1e-3
    assert "by chance" in label_range(few)
    assert label_range(classified(examine, torch.arange(64) % 5, 5)) is None
    some = classified(examine, 1 + torch.arange(64) % 3, 5)  # 4 is not used either
    assert label_range(some) is None


def test_silent_on_tokens(examine):
    """Token 0 may be the padding, which is never asked for."""

    def each(output, target):
        return functional.cross_entropy(output.flatten(0, 1), target.flatten())

    data = torch.randn(8, 20, 6), 1 + torch.arange(160).view(8, 20) % 4
    assert label_range(examine(mlp(6, 8, 5), data=data, loss=each).readings) is None


LEFT = {"ignored": 0.0, "share": 0.25, "largest": 0.27, "padded": 0.2}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, True),
        ({"padded": 1.0}, False),  # padding at the end of each sample
        ({"share": 0.85, "largest": 0.1}, False),  # what a masked language model is not asked for
    ],
)
def test_a_class_that_the_loss_leaves_out(changed, found, examine):
    readings = classified(examine, torch.arange(64) % 4, 4)
    with pytest.raises(Untested, match="pull"):
        label_range(trained(readings))
    finding = label_range(trained(readings, pull=LEFT | changed))
    assert (finding is not None) == found
    if found:
        assert (finding.severity, finding.measured["ignored_label"]) == ("caution", 0)
        assert "label 0, which 25% of the targets have" in finding.message
    assert label_range(trained(readings, pull={"rows": 1.0})) is None


def test_not_applicable_to_regression(examine):
    data = torch.randn(64, 8), torch.randn(64, 1)
    with pytest.raises(NotApplicable, match="no labels"):
        label_range(examine(mlp(8, 8, 1), data=data, loss=functional.mse_loss).readings)
