"""SD213: a replay of the training beside the run itself."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, fork

from sounding.rules.progress import loop_interferes


def test_a_replay_that_ends_lower(ran):
    tests = {"constant": constant(2.3, 2.2), "replayed": fork(2.2, 0.3)}
    finding = loop_interferes(ran(tests=tests))
    assert (finding.code, finding.severity) == ("SD213", "problem")
    assert "ends at 0.3 instead of 2.2" in finding.message
    assert finding.expected["loss"] == 0.3


@pytest.mark.parametrize("replay", [2.2, 1.8])
def test_silent_where_the_replay_does_the_same(ran, replay):
    tests = {"constant": constant(2.3, 2.2), "replayed": fork(2.2, replay)}
    assert loop_interferes(ran(tests=tests)) is None


def _train(*, spoil):
    torch.manual_seed(0)
    x = torch.randn(2048, 16)
    y = (x @ torch.randn(16, 4)).argmax(1)
    net = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.2), nn.ReLU(), nn.Linear(32, 4))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    first = [p.detach().clone() for p in net.parameters()]
    for step in range(120):
        rows = torch.arange(32 * step, 32 * step + 32) % 2048
        optimiser.zero_grad()
        functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimiser.step()
        if spoil:
            with torch.no_grad():
                for p, old in zip(net.parameters(), first, strict=True):
                    p.copy_(old)


def test_weights_that_are_written_over(watch):
    finding, _ = watch(lambda: _train(spoil=True), "SD213")
    assert finding is not None
    assert watch(lambda: _train(spoil=False), "SD213")[0] is None
