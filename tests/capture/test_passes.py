"""What one recorded pass says besides its calls: the loss, gradients, sizes, and what it missed."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture.passes import finish, record
from sounding.capture.recorder import Recorder


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(10, 6), torch.randint(0, 3, (10,))


def test_loss_gradients_and_sizes(batch):
    model, (x, y) = net(), batch
    found = record(model, lambda: F.cross_entropy(model(x), y), x)
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    assert found.loss == float(loss.detach())
    for name, parameter in model.named_parameters():
        assert found.gradients[name] == pytest.approx(float(parameter.grad.norm()), rel=1e-6)
        assert found.sizes[name] == pytest.approx(float(parameter.detach().norm()), rel=1e-6)
    assert set(found.matrices) == {"0.weight", "2.weight"}
    assert found.nodes[found.end].operation == "cross_entropy"
    for node in found.nodes:
        if node.weight:
            weight = model.get_parameter(node.weight).detach()
            assert node.weight_second_moment == pytest.approx(float(weight.square().mean()))
            bias = model.get_parameter(node.bias).detach()
            assert node.bias_second_moment == pytest.approx(float(bias.square().mean()))


def test_the_same_in_a_training_loop_where_finish_reads_the_gradients(batch):
    model, (x, y) = net(), batch
    recorder = Recorder(model)
    with recorder.watching():
        loss = F.cross_entropy(model(x), y)
    loss.backward()
    alone = finish(recorder, model, float(loss.detach()))
    whole = record(model, lambda: F.cross_entropy(model(x), y), x)
    assert alone.gradients == whole.gradients
    assert [n.name for n in alone.nodes] == [n.name for n in whole.nodes]
    assert alone.end == -1  # nobody said which call made the loss


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (lambda m, x: m(x), "reduction='mean'"),
        (lambda m, x: m(x).detach().sum(), "does not depend on any trainable parameter"),
        (lambda m, x: 3.0, "must be a torch tensor"),
    ],
)
def test_a_loss_that_is_none(batch, compute, words):
    model = net()
    with pytest.raises(ValueError, match=words):
        record(model, lambda: compute(model, batch[0]))


def test_gradients_are_on_even_where_the_caller_has_them_off(batch):
    model, (x, y) = net(), batch
    with torch.no_grad():
        found = record(model, lambda: F.cross_entropy(model(x), y), x)
        assert not torch.is_grad_enabled()
    assert all(g > 0 for g in found.gradients.values())


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(5))
        self.lent = nn.Linear(8, 8)

    def forward(self, x):
        return self.head(self.experts[1](self.used(x)) @ self.lent.weight)


def test_modules_that_never_ran_are_named(batch):
    """A layer whose weight is used by hand did take part, though it was not called."""
    model, (x, y) = Idle(), batch
    found = record(model, lambda: F.cross_entropy(model(x), y), x)
    assert found.notes == (
        "4 modules with parameters never ran: experts.0, experts.2, experts.3, ...",
    )


def test_failures_of_the_recorder_are_notes(batch, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("on purpose")

    model, (x, y) = net(), batch
    monkeypatch.setattr("sounding.capture.graph.reduce", broken)
    found = record(model, lambda: F.cross_entropy(model(x), y), x)
    assert len(found.failures) == 3
    assert found.notes[0] == (
        "the recorder failed on 3 calls, which are missing "
        "(first: RuntimeError: on purpose); it stopped there"
    )
    assert found.loss == float(F.cross_entropy(model(x), y).detach())


def test_watching_twice_in_a_row_adds_up(batch):
    """Two passes through one recorder: a second call of each layer."""
    model, (x, y) = net(), batch
    recorder = Recorder(model)
    with recorder.watching():
        loss = F.cross_entropy(model(x), y) + F.cross_entropy(model(x * 2), y)
    loss.backward()
    names = [n.name for n in recorder.nodes if n.role == "weight"]
    assert names == ["0", "2", "0@2", "2@2"]
    assert [n.role for n in recorder.nodes if n.operation in ("mul", "add")] == ["other", "loss"]
