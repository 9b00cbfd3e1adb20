"""Every column of the signal against a plain computation in double precision, by hooks of its own.

The standard errors are compared with the scatter over many redrawn batches: no other test would
notice an error that is too small by the root of the number of features.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture.node import Node
from sounding.capture.passes import record
from sounding.capture.sample import reduce
from sounding.measure.signal import signal
from sounding.theory.activations import activation, saturated

EXACT = ("rms", "mean", "std", "spread", "correlation", "zeros", "dead", "slope", "saturated")


def mlp(phi=nn.ReLU):
    return nn.Sequential(
        nn.Linear(20, 60),
        phi(),
        nn.Linear(60, 40),
        phi(),
        nn.Linear(40, 30),
        phi(),
        nn.Linear(30, 4),
    )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Conv2d(5, 5, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(80, 4),
    )  # fmt: skip


def outputs(net, x):
    """What goes into and comes out of every leaf, copied when it was made."""
    found, handles = {}, []
    for name, module in net.named_modules():
        if not list(module.children()):

            def keep(_, args, out, name=name):
                found[name] = (args[0].detach().clone(), out.detach().clone())

            handles.append(module.register_forward_hook(keep))
    net(x)
    for handle in handles:
        handle.remove()
    return found


def expected(module, given, out):
    """The definitions, in double precision over all entries."""
    x = out.double().flatten(1)
    unit = x / x.norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    pairs = ~torch.eye(len(x), dtype=torch.bool)
    row = {
        "rms": x.square().mean().sqrt(),
        "mean": x.mean(),
        "std": x.var(1, unbiased=False).mean().sqrt(),
        "spread": x.var(0, unbiased=True).mean().sqrt(),
        "correlation": cosines[pairs].mean(),
    }
    if isinstance(module, nn.ReLU):
        units = out.transpose(0, 1).flatten(1)
        row |= {"zeros": (x == 0).double().mean(), "dead": (units == 0).all(1).sum()}
    if isinstance(module, nn.ReLU | nn.Tanh | nn.Sigmoid):
        z = given.double().requires_grad_()
        slope = torch.autograd.grad(module(z).sum(), z)[0]
        row["slope"] = slope.square().mean()
        if not isinstance(module, nn.ReLU):
            row["saturated"] = (slope.abs() < 0.01).double().mean()
    return {name: float(value) for name, value in row.items()}


CASES = {
    "relu": (mlp, (32, 20)),
    "tanh": (lambda: mlp(nn.Tanh), (32, 20)),
    "sigmoid": (lambda: mlp(nn.Sigmoid), (9, 20)),
    "convolutions": (convolutional, (32, 3, 4, 4)),
    "two samples": (mlp, (2, 20)),
}


@pytest.mark.parametrize("case", CASES)
def test_statistics_of_tensors_that_are_seen_whole(read, case):
    build, shape = CASES[case]
    net, x = build(), torch.randn(shape) * 3
    y = torch.randint(0, 4, shape[:1])
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    found = outputs(net, x)
    seen = 0
    for i, call in enumerate(taken.calls):
        if call.name not in found:
            continue
        seen += 1
        wanted = expected(net.get_submodule(call.name), *found[call.name])
        for name in EXACT:
            value = getattr(taken.signal, name)[i]
            assert value == pytest.approx(wanted.get(name, np.nan), rel=1e-5, abs=1e-6, nan_ok=True)
    assert seen == len([m for m in net.modules() if not isinstance(m, nn.Sequential | nn.Flatten)])


def test_large_tensors_are_exact_where_that_is_said_and_close_elsewhere(read):
    net, x = convolutional(), torch.randn(50, 3, 4, 4)
    net[0], net[1] = nn.Conv2d(3, 200, 3, padding=1), nn.BatchNorm2d(200)
    net[3] = nn.Conv2d(200, 5, 3, padding=1)
    y = torch.randint(0, 4, (50,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    found = outputs(net, x)
    for i, call in enumerate(taken.calls):
        if call.name not in ("0", "1", "2"):
            continue
        wanted = expected(net.get_submodule(call.name), *found[call.name])
        column = taken.signal
        assert column.rms[i] == pytest.approx(wanted["rms"], rel=1e-5)
        for name in ("mean", "std", "spread", "correlation", "zeros", "slope"):
            if name in wanted:
                error = getattr(column, f"{name}_error")[i]
                assert abs(getattr(column, name)[i] - wanted[name]) < 5 * error, (call.name, name)
        if call.name == "2":
            assert column.dead[i] == wanted["dead"]


def test_the_definition_of_saturation_is_the_theorys():
    z = np.linspace(-12, 12, 4000)
    for name in ("tanh", "sigmoid", "hardtanh"):
        phi = activation(name)
        node = _node(torch.tensor(phi.function(z)).reshape(40, 100))
        node.role, node.operation = "activation", name
        node.preactivation = torch.tensor(z).reshape(40, 100)
        measured = signal([node], np.ones(1, dtype=bool)).saturated[0]
        assert measured == pytest.approx(saturated(phi, z).mean(), abs=1e-12)


# -- standard errors --------------------------------------------------------------------------


def _node(tensor):
    node = Node(0, "a", "a", "linear", "weight", [], numel=tensor.numel())
    node.output = reduce(tensor)
    return node


WITH_ERROR = ("rms", "mean", "std", "spread", "correlation", "zeros", "slope", "saturated")


@pytest.mark.parametrize("phi", [nn.ReLU, nn.Tanh])
def test_errors_are_the_scatter_over_redrawn_batches(phi):
    """Within a factor 1.5, over 200 batches of 32 samples; the scatter is known to 5 %."""
    net = mlp(phi)
    with torch.no_grad():
        for layer in net[::2]:
            layer.weight *= 4
    rows = []
    for _ in range(200):
        x, y = torch.randn(32, 20), torch.randint(0, 4, (32,))
        nodes = record(net, lambda: F.cross_entropy(net(x), y), x).nodes  # noqa: B023
        rows.append(dataclasses.asdict(signal(nodes, np.ones(len(nodes), dtype=bool))))
    for name in WITH_ERROR:
        values = np.array([row[name] for row in rows])[:, 1:-1]  # (batches, C)
        errors = np.array([row[f"{name}_error"] for row in rows])[:, 1:-1]
        known = np.isfinite(values).all(0) & (values.std(0) > 0)
        if name in ("zeros", "saturated"):
            assert known.any() == (name == ("zeros" if phi is nn.ReLU else "saturated"))
        ratio = errors[:, known].mean(0) / values[:, known].std(0)
        assert (ratio > 1 / 1.5).all(), (name, ratio)
        assert (ratio < 1.5).all(), (name, ratio)


def test_errors_count_the_features_that_were_not_sampled():
    """Of 3,000 features with means of their own 128 are seen: the batch alone would say 0.05."""
    generator = np.random.default_rng(0)
    means, scales = generator.normal(0, 1, 3000), generator.uniform(0.2, 2, 3000)
    truth = {"mean": means.mean(), "spread": np.sqrt((scales**2).mean())}
    deviations = {name: [] for name in truth}
    for _ in range(300):
        order = generator.permutation(3000)
        noise = generator.normal(0, 1, (40, 3000)) * scales[order]
        tensor = torch.tensor(means[order] + noise, dtype=torch.float32)
        found = signal([_node(tensor)], np.ones(1, dtype=bool))
        for name, value in truth.items():
            error = getattr(found, f"{name}_error")[0]
            deviations[name].append((getattr(found, name)[0] - value) / error)
    for name, scores in deviations.items():
        assert 1 / 1.5 < np.std(scores) < 1.5, name
        assert abs(np.mean(scores)) < 0.3, name


# -- the edges --------------------------------------------------------------------------------


def test_one_sample_has_no_spread_and_no_error(read):
    net = mlp()
    x, y = torch.randn(1, 20), torch.zeros(1, dtype=torch.long)
    column = read(net, lambda: F.cross_entropy(net(x), y), x).signal
    for name in ("spread", "correlation", "rms_error", "spread_error", "mean_error"):
        assert np.isnan(getattr(column, name)).all(), name
    assert np.isfinite(column.rms).all()


def test_a_spread_far_below_the_mean_keeps_its_digits():
    base = torch.randn(1, 50, dtype=torch.float64)
    tensor = base + 1e-9 * torch.randn(30, 50, dtype=torch.float64)
    found = signal([_node(tensor)], np.ones(1, dtype=bool))
    assert found.spread[0] == pytest.approx(float(tensor.var(0).mean().sqrt()), rel=1e-6)
    assert found.correlation[0] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_signals_whose_squares_do_not_fit(read, size):
    net = nn.Sequential(nn.Linear(20, 200, bias=False), nn.ReLU(), nn.Linear(200, 4, bias=False))
    x, scale = torch.randn(64, 20), 1 / size
    plain = read(net, lambda: net(x).square().mean(), x)
    with torch.no_grad():
        net[0].weight *= size
    taken = read(net, lambda: (net(x) * scale).square().mean(), x)
    assert taken.signal.rms[1:3] == pytest.approx(plain.signal.rms[1:3] * size, rel=1e-5)
    assert taken.signal.spread[1:3] == pytest.approx(plain.signal.spread[1:3] * size, rel=1e-5)
    assert taken.gradients.rms[1:3] == pytest.approx(plain.gradients.rms[1:3] / size, rel=1e-5)


def test_nan_and_the_first_call_that_made_it(read):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(20, 20), nn.Linear(20, 4)

        def forward(self, x):
            return self.b(torch.log(torch.relu(self.a(x)) - 10) + 1)

    net, x = Net(), torch.randn(8, 20)
    taken = read(net, lambda: net(x).square().mean(), x)
    names = [taken.calls[i].name for i in taken.signal.nonfinite]
    assert names == ["#log", "#add", "b", "square", "mean"]


def test_an_infinity_that_is_absorbed_is_no_fault(read):
    class Masked(nn.Module):
        def __init__(self, spoil):
            super().__init__()
            self.a, self.b, self.spoil = nn.Linear(20, 20), nn.Linear(20, 4), spoil

        def forward(self, x):
            scores = self.a(x).masked_fill(torch.arange(20) > 5, -torch.inf)
            weights = scores.exp() if self.spoil else scores.softmax(-1)
            return self.b(torch.where(weights > 0, weights.log(), 0) if self.spoil else weights)

    x = torch.randn(8, 20)
    healthy, sick = Masked(False), Masked(True)
    taken = read(healthy, lambda: healthy(x).square().mean(), x)
    assert taken.signal.nonfinite == ()
    assert taken.gradients.nonfinite == ()
    taken = read(sick, lambda: sick(x).square().mean(), x)  # the slope of log(0) is 0 * inf
    assert [taken.calls[i].name for i in taken.signal.nonfinite][:1] == ["#log"]


def test_dead_units_of_layers_in_every_layout(read):
    """Units lie on the channels after convolutions, and last after linear layers of any shape."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.line = nn.Conv2d(3, 6, 3, padding=1), nn.Conv1d(6, 10, 1)
            self.wide, self.head = nn.Linear(10, 7), nn.Linear(7, 4)

        def forward(self, x):
            z = torch.relu(self.conv(x))  # (B, 6, 5, 5)
            z = torch.relu(self.line(z.flatten(2)))  # (B, 10, 25)
            z = torch.relu(self.wide(z.transpose(1, 2).reshape(-1, 5, 5, 10)))  # (B, 5, 5, 7)
            return self.head(z.mean((1, 2)))

    net, x = Net(), torch.randn(8, 3, 5, 5)
    with torch.no_grad():
        for layer, dead in ((net.conv, 2), (net.line, 3), (net.wide, 4)):
            layer.bias[:dead] = -1000.0
            layer.bias[dead:] = 5.0
    taken = read(net, lambda: net(x).square().mean(), x)
    at = [i for i, call in enumerate(taken.calls) if call.role == "activation"]
    assert taken.signal.dead[at].tolist() == [2, 3, 4]
    assert [taken.calls[i].units for i in at] == [6, 10, 7]
