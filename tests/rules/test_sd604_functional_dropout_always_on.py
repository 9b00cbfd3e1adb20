"""SD604: dropout that no mode switches off, told from nets that draw numbers on purpose."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import watched

from sounding.measure.loop import Evaluations
from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.dropout import dropout_always_on
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.zoo.nets import mlp


class Dropped(nn.Module):
    """Two layers, with something that drops between them."""

    def __init__(self, drop):
        super().__init__()
        self.first, self.last, self.drop = nn.Linear(8, 32), nn.Linear(32, 4), [drop]

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        drop = self.drop[0]
        given = (hidden,) if isinstance(drop, nn.Module) else (hidden, self.training)
        return self.last(drop(*given))


class Sampling(Dropped):
    """Draws its code as a variational autoencoder does, in evaluation too."""

    def forward(self, x):
        return super().forward(x) + torch.randn(len(x), 4)


ALWAYS = {
    "without the flag": lambda: Dropped(lambda x, _: functional.dropout(x, 0.5)),
    "a module in a list": lambda: Dropped(nn.Dropout(0.5)),
    "a module made in forward": lambda: Dropped(lambda x, _: nn.Dropout(0.5)(x)),
}
HEALTHY = {
    "with the flag": lambda: Dropped(lambda x, training: functional.dropout(x, 0.5, training)),
    "sampling": lambda: Sampling(lambda x, training: functional.dropout(x, 0.5, training)),
    "sampling without dropout": lambda: Sampling(lambda x, _: x),
    "a module": lambda: nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 4)),
}


def findings(make):
    torch.manual_seed(0)
    y = torch.arange(512) % 4
    x = torch.randn(4, 8)[y] + torch.randn(512, 8)
    observer = Observer()
    with observer.watching():
        net = make()
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(60):
            rows = torch.randint(0, 512, (32,))
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    assert not observer.failures
    return {f.code: f for f in diagnose(observer, "loop").findings}


@pytest.mark.parametrize("name", ALWAYS)
def test_in_a_loop(name):
    finding = findings(ALWAYS[name])["SD604"]
    assert (finding.severity, finding.confidence) == ("problem", "exact")
    assert finding.layers == ("#dropout",)
    assert "pass training=self.training" in finding.message


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy(name):
    assert "SD604" not in findings(HEALTHY[name])


@pytest.fixture
def readings(examine, batch):
    x = batch[0][:, :8]
    return examine(ALWAYS["without the flag"](), data=(x, batch[1] % 4)).readings


def asked(count=10, again=0):
    return Evaluations(
        count=count, training=0, blocks=1, again=again, low=None, high=None,
        outside=0.0, expected=0.0,
    )  # fmt: skip


def repeat(difference, undropped):
    return {"repeat": {"difference": difference, "undropped": undropped}}


def test_two_passes_decide(readings):
    with pytest.raises(Untested, match="repeat"):
        dropout_always_on(watched(readings))
    finding = dropout_always_on(watched(readings, tests=repeat(0.7, 0.0)))
    assert "differ by 70% of the output's deviation" in finding.message
    assert finding.measured == {"difference": 0.7}


@pytest.mark.parametrize(
    ("tests", "evaluations", "said"),
    [
        (repeat(0.0, 0.0), asked(), "not in evaluation"),
        (repeat(0.7, 0.5), asked(), "also with all dropout off"),
        (repeat(0.7, 0.0), asked(30, 29), "the same inputs are asked repeatedly"),
    ],
)
def test_refuted(tests, evaluations, said, readings):
    assert said in dropout_always_on(watched(readings, tests=tests, evaluations=evaluations))


def test_no_dropout(examine):
    readings = examine(mlp(64, 32, 10)).readings
    assert dropout_always_on(watched(readings)) is None
    with pytest.raises(NotApplicable):
        dropout_always_on(readings)
