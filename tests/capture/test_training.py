"""A training loop seen from outside: every event once, in order, and the loop's own numbers kept.

The oracle is the same loop without anybody listening.
"""

import contextlib
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture.recorder import Recorder
from sounding.capture.training import Listener, Training, forward_again


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True))
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(16, 4)

    def forward(self, x, scale=1.0):
        return self.head(self.drop(self.body(x))) * scale


class Events(Listener):
    """Writes the events down; records every call of the model."""

    def __init__(self):
        self.seen, self.recorders = [], []

    def call(self, model, args, kwargs):
        self.seen.append(f"call {type(model).__name__} {sorted(kwargs)}")
        self.recorders.append(Recorder(model))
        return self.recorders[-1]

    def loss(self, value):
        assert value.requires_grad
        self.seen.append("loss")

    def scores(self, output, target):
        self.seen.append(f"scores {tuple(output.shape)}")

    def before_step(self, optimizer):
        self.seen.append(f"before {type(optimizer).__name__}")

    def after_step(self, optimizer):
        self.seen.append("after")


def train(steps=5, *, make=torch.optim.SGD, closure=False):
    torch.manual_seed(0)
    net = Net()
    optimiser = make(net.parameters(), lr=0.05)
    for _ in range(steps):
        x, y = torch.randn(16, 8), torch.randint(0, 4, (16,))

        def compute(x=x, y=y):
            optimiser.zero_grad()
            loss = F.cross_entropy(net(x, scale=1.0), y)
            loss.backward()
            return loss

        if closure:
            optimiser.step(compute)
        else:
            compute()
            optimiser.step()
    return net, torch.cat([t.detach().float().flatten() for t in net.state_dict().values()])


def hooks():
    module = torch.nn.modules.module
    found = [v for n, v in vars(module).items() if n.startswith("_global_") and v]
    optimisers = sys.modules["torch.optim.optimizer"]
    found += [optimisers._global_optimizer_pre_hooks, optimisers._global_optimizer_post_hooks]
    return [dict(table) for table in found if isinstance(table, dict)] + [
        torch._C._len_torch_function_stack(),
        torch.autograd.backward,
        F.cross_entropy,
        nn.Module.__init__,
        torch.optim.Optimizer.__init__,
    ]


def test_events_come_once_each_and_in_order():
    events = Events()
    with Training(events, scores=True) as training:
        training.arm()
        train(steps=2)
    step = ["call Net ['scale']", "scores (16, 4)", "loss", "before SGD", "after"]
    assert events.seen == step * 2
    assert all(not r.failures for r in events.recorders)
    names = [n.name for n in events.recorders[0].nodes]
    assert names == ["input", "body.0", "body.1", "body.2", "drop", "head", "#mul", "cross_entropy"]


def test_optimisers_are_known_from_their_construction():
    with Training(Events()) as training:
        optimiser = torch.optim.Adam(Net().parameters())
        assert list(training.optimizers) == [optimiser]
    torch.optim.Adam(Net().parameters())
    assert list(training.optimizers) == [optimiser]


def test_a_closure_runs_inside_the_step():
    events = Events()
    with Training(events) as training:
        training.arm()
        train(steps=1, make=torch.optim.LBFGS, closure=True)
    assert events.seen[0] == "before LBFGS"
    assert events.seen[1:3] == ["call Net ['scale']", "loss"]
    assert events.seen[-1] == "after"


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_the_training_keeps_its_bits(make):
    _, plain = train(make=make)
    before = hooks()
    with Training(Events(), scores=True) as training:
        training.arm()
        _, watched = train(make=make)
    assert torch.equal(plain, watched)
    assert hooks() == before


def test_a_disarmed_step_has_no_hook_on_the_forward_pass():
    events = Events()
    with Training(events) as training:
        training.arm()
        training.disarm()
        assert not torch.nn.modules.module._has_any_global_hook()
        train(steps=1)
    assert events.seen == ["loss", "after"]


def test_evaluation_and_frozen_models_are_not_training():
    events, net = Events(), Net()
    with Training(events) as training:
        training.arm()
        with torch.no_grad():
            net(torch.randn(4, 8))
        Net().requires_grad_(False)(torch.randn(4, 8))
        nn.MSELoss()(torch.randn(3), torch.randn(3))
    assert events.seen == []


def test_the_root_is_the_topmost_module():
    with Training(Events()) as training:
        net = Net()
        wrapped = nn.ModuleDict({"net": net})
    assert training.root(net.body[0]) is wrapped
    del wrapped
    assert training.root(net.body[0]) is net


class Raising(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.layer, self.inner, self.error = nn.Linear(4, 4), Net(), error

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return self.layer(x)


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_a_model_that_raises_is_left_as_python_would(error):
    before = hooks()
    with Training(Events()) as training:
        training.arm()
        net = nn.Sequential(nn.Linear(4, 4), Raising(error))
        with pytest.raises(type(error)) as caught:
            net(torch.randn(2, 4))
        assert caught.value is error
    assert hooks() == before


def test_what_comes_after_a_failed_pass_is_seen_again():
    events = Events()
    with Training(events) as training:
        training.arm()
        net = nn.Sequential(nn.Linear(4, 4), Raising(RuntimeError("once")))
        with contextlib.suppress(RuntimeError):
            net(torch.randn(2, 4))
        net[1].error = None
        net(torch.randn(2, 4)).sum().backward()
    assert events.seen == ["call Sequential []", "call Sequential []", "loss"]
    assert [n.name for n in events.recorders[1].nodes] == ["input", "0", "1.layer", "sum"]


def test_a_call_can_be_repeated_without_a_trace():
    net, outputs = Net(), []

    class Again(Listener):
        def call(self, model, args, kwargs):
            again = forward_again(model, args, kwargs)
            outputs.extend([again(), again()])

    x = torch.randn(16, 8)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    with Training(Again()) as training:
        training.arm()
        torch.manual_seed(3)
        out = net(x, scale=2.0)
    assert torch.equal(outputs[0], outputs[1])  # the same dropout, from the same state
    assert torch.equal(outputs[0], out)
    moved = [k for k, v in net.state_dict().items() if not torch.equal(v, state[k])]
    assert moved == ["body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"]
    assert int(net.body[1].num_batches_tracked) == 1
