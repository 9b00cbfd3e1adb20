"""SD413: whether the whole net is one affine map is seen by adding; the fork decides."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, fork, trained

from sounding.measure.test import Untested
from sounding.rules.linear_network import linear_network
from sounding.zoo.nets import mlp


def dense(*between):
    return nn.Sequential(nn.Linear(8, 16), *between, nn.Linear(16, 3))


class Residual(nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.first, self.branch, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.bend = bend

    def forward(self, x):
        x = self.first(x)
        return self.last(x + self.bend(self.branch(x)))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.one(x) * self.two(x))


NETS = {
    "linear": dense(),
    "dropout": dense(nn.Dropout(0.0)),
    "batch norm": dense(nn.BatchNorm1d(16)),
    "deep": nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)),
    "skip": Residual(lambda x: 0.5 * x),
    "mean": nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 4, 3), nn.AvgPool1d(2),
                          nn.Flatten(), nn.Linear(12, 3)),
    "relu": dense(nn.ReLU()),
    "layer norm": dense(nn.LayerNorm(16)),
    "bent branch": Residual(torch.sin),
    "gate": Gated(),
    "maximum": nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 4, 3), nn.MaxPool1d(2),
                             nn.Flatten(), nn.Linear(12, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_suspected_exactly_where_the_net_is_an_affine_map(name, examine):
    net = NETS[name]
    x, y = torch.randn(64, 8), torch.arange(64) % 3
    readings = trained(examine(net, data=(x, y)).readings, constant=constant(1.1, 1.1))
    net.eval()
    a, b, zero = x[:5], x[5:10], torch.zeros(5, 8)
    affine = torch.allclose(net(a) + net(b), net(a + b) + net(zero), atol=1e-4)
    if affine:
        with pytest.raises(Untested, match="rectified"):
            linear_network(readings)
    else:
        assert linear_network(readings) is None


def test_the_fork_decides(examine):
    data = torch.randn(64, 8), torch.arange(64) % 3
    readings = examine(NETS["deep"], data=data).readings
    level = constant(1.1, 1.09)
    finding = linear_network(trained(readings, constant=level, rectified=fork(1.09, 0.05)))
    assert (finding.code, finding.severity, finding.layers) == ("SD413", "problem", ("0", "1"))
    assert finding.message.startswith("3 layers and no activation between them are one linear map")
    assert finding.expected["activations"] == 2
    assert [r.name for r in finding.remedies] == ["add_activations"]
    said = linear_network(trained(readings, constant=level, rectified=fork(0.30, 0.35)))
    assert said.endswith(
        "with a ReLU behind each, the loss ends at 0.35 instead of 0.3 in 200 steps"
    )


def test_silent_on_one_layer_on_embeddings_and_on_a_recurrence(examine, batch):
    assert linear_network(examine(nn.Linear(64, 10)).readings) is None
    words = nn.Sequential(nn.EmbeddingBag(50, 8), nn.Linear(8, 10))
    data = torch.randint(0, 50, (64, 5)), batch[1]
    assert linear_network(examine(words, data=data).readings) is None

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.cell, self.last = nn.Linear(8, 8), nn.RNN(8, 8), nn.Linear(8, 10)

        def forward(self, x):
            return self.last(self.cell(self.first(x.view(8, 64, 8)))[0][-1])

    assert linear_network(examine(Recurrent(), data=batch).readings) is None


def test_silent_on_a_usual_net_that_ends_in_probabilities(examine):
    net = nn.Sequential(mlp(64, 16, 10), nn.LogSoftmax(1))
    assert linear_network(examine(net, loss=functional.nll_loss).readings) is None
