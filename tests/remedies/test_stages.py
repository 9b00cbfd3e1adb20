"""Layer groups by the names of the layers, in the order in which they run."""

import pytest
import torch
from torch import nn

from sounding.capture.recorder import Recorder
from sounding.remedies.stages import stage_names, stages
from sounding.result import NotApplicable
from sounding.zoo.nets import Residual, ReZero, mlp, resnet
from sounding.zoo.sequences import LanguageModel, Recurrent


def nodes(net, x):
    recorder = Recorder(net)
    with recorder.watching():
        net(x)
    return recorder.nodes


IMAGES = torch.zeros(2, 1, 8, 8)
TOKENS = torch.zeros(2, 5, dtype=torch.long)


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = mlp(64, 8, 8, 4)

    def forward(self, x):
        return self.backbone(x)


@pytest.mark.parametrize(
    ("make", "x", "names"),
    [
        (lambda: mlp(64, 8, 8, 4), torch.zeros(2, 64), [["0"], ["2"], ["4"]]),
        (Wrapped, torch.zeros(2, 64), [["backbone.0"], ["backbone.2"], ["backbone.4"]]),
        (lambda: resnet(2), IMAGES, [["0", "1"], ["3"], ["4"], ["7"]]),
        (
            lambda: LanguageModel(2),
            TOKENS,
            [["table"], ["places"], ["blocks.0"], ["blocks.1", "norm"], ["head"]],
        ),
        (
            lambda: LanguageModel(1, tied=True),
            TOKENS,
            [["places"], ["blocks.0", "norm"], ["head", "table"]],
        ),
        (
            lambda: Residual(2, 8),
            torch.zeros(2, 64),
            [["stem"], ["up.0"], ["down.0"], ["up.1"], ["down.1"], ["head"]],
        ),
        (lambda: Recurrent(nn.LSTM), torch.zeros(2, 3, 8), [["recurrent"], ["head"]]),
    ],
)
def test_names_in_order(make, x, names):
    found: dict[int, list[str]] = {}
    for name, at in stage_names(nodes(make(), x)).items():
        found.setdefault(at, []).append(name)
    assert [sorted(found[at]) for at in sorted(found)] == names


def test_every_parameter_is_in_one_group():
    for net, x in ((resnet(2), IMAGES), (LanguageModel(2, tied=True), TOKENS)):
        groups = stages(net, nodes(net, x))
        found = [id(p) for group in groups for p in group]
        assert sorted(found) == sorted(map(id, net.parameters()))


def test_a_shared_weight_is_in_the_last_of_its_groups():
    net = LanguageModel(1, tied=True)
    groups = stages(net, nodes(net, TOKENS))
    assert any(p is net.table.weight for p in groups[-1])


def test_what_is_in_no_layer_is_in_the_first_group():
    net = ReZero(2)
    assert any(p is net.gates for p in stages(net, nodes(net, torch.zeros(2, 32)))[0])


def test_frozen_parameters_are_in_none():
    net = mlp(64, 8, 8, 4)
    net[0].requires_grad_(False)
    assert len(stages(net, nodes(net, torch.zeros(2, 64)))) == 2
    net[2].requires_grad_(False)
    with pytest.raises(NotApplicable, match="fewer than two layer groups are trained"):
        stages(net, nodes(net, torch.zeros(2, 64)))
    with pytest.raises(NotApplicable, match="fewer than two layer groups"):
        stages(nn.Linear(64, 1), nodes(nn.Linear(64, 1), torch.zeros(2, 64)))
