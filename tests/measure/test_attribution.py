"""The log-gain's parts: that they add up, and that each is the factor it claims to be.

Adding up alone proves little, because each step is a difference; the split between a branch and its
skip is checked against autograd on a graph in which the two are kept apart by hand.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.measure.attribution import PARTS


class Residual(nn.Module):
    """Three blocks h + second(relu(first(h))), functional and in place by turns."""

    def __init__(self, width=20, *, inplace=False):
        super().__init__()
        self.stem, self.head = nn.Linear(12, width), nn.Linear(width, 4)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.inplace = inplace

    def forward(self, x):
        h = self.stem(x)
        for first, second in zip(self.first, self.second, strict=True):
            branch = second(F.relu(first(h), inplace=self.inplace))
            if self.inplace:
                branch += h
                h = branch
            else:
                h = h + branch
        return self.head(h)


class Transformer(nn.Module):
    """Pre-norm blocks; attention by hand, so that queries and keys leave the path and return."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(12, 16), nn.Linear(16, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(4))
        self.qkv = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(16, 32) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(32, 16) for _ in range(2))

    def forward(self, x):
        h = self.stem(x)
        for k in range(2):
            q, key, v = self.qkv[k](self.norms[2 * k](h)).chunk(3, -1)
            attended = (q @ key.transpose(1, 2) / 4).softmax(-1) @ v
            h = h + self.out[k](attended)
            h = h + self.down[k](F.gelu(self.up[k](self.norms[2 * k + 1](h))))
        return self.head(h.mean(1))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.2),
        )  # fmt: skip
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.layers(x).mean((2, 3)))


class ResNet(nn.Module):
    """Two residual blocks of convolutions and batch norms, the second with a projection."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(16, 4)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.c, self.d = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.project = nn.Conv2d(8, 16, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (8, 8, 16, 16))

    def forward(self, x):
        h = self.stem(x)
        z = self.norms[1](self.b(F.relu(self.norms[0](self.a(h)))))
        h = F.relu(z + h, inplace=True)
        z = self.norms[3](self.d(F.relu(self.norms[2](self.c(h)))))
        return self.head(F.relu(z + self.project(h)).mean((2, 3)))


def mlp():
    return nn.Sequential(
        nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 20),
        nn.ReLU(inplace=True), nn.Linear(20, 4),
    )  # fmt: skip


def vectors():
    return torch.randn(40, 12)


def images():
    return torch.randn(40, 3, 8, 8)


NETS = {
    "mlp": (mlp, vectors, {"weight", "activation"}),
    "conv and batch norm": (
        ConvNet,
        images,
        {"weight", "activation", "normalisation", "other"},
    ),
    "residual": (Residual, vectors, {"weight", "activation", "skip"}),
    "residual in place": (
        lambda: Residual(inplace=True),
        vectors,
        {"weight", "activation", "skip"},
    ),
    "resnet": (
        ResNet,
        images,
        {"weight", "activation", "normalisation", "skip", "other"},
    ),
    "transformer": (
        Transformer,
        lambda: torch.randn(40, 6, 12),
        {"weight", "activation", "normalisation", "skip", "other"},
    ),
}


@pytest.mark.parametrize("case", NETS)
def test_the_parts_add_up_to_the_measured_whole(read, case):
    build, inputs, parts = NETS[case]
    net, x = build(), inputs()
    y = torch.randint(0, 4, (len(x),))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    rms = taken.signal.rms[list(taken.path)]
    sizes = np.array([taken.calls[i].size for i in taken.path])
    norms = taken.gradients.rms[list(taken.path)] * np.sqrt(sizes)
    for found, whole in (
        (taken.forward, np.diff(np.log(rms))),
        (taken.backward, -np.diff(np.log(norms))),
    ):
        assert sum(found.parts().values()) == pytest.approx(whole, abs=1e-6)
        assert found.total == pytest.approx(whole, abs=1e-6)
        used = {name for name, values in found.parts().items() if np.abs(values).max() > 1e-6}
        assert used == parts
        assert tuple(found.parts()) == PARTS
        assert found.layers == tuple(taken.calls[i].name for i in taken.path)


def test_a_layer_by_layer_split_of_a_plain_net(read):
    net, x, y = mlp(), vectors(), torch.randint(0, 4, (40,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    kept, z = [], x
    for layer in net:
        z = F.relu(z) if isinstance(layer, nn.ReLU) else layer(z)
        z.retain_grad()
        kept.append(z)
    F.cross_entropy(z, y).backward()
    rms = [math.log(float(z.detach().double().square().mean().sqrt())) for z in kept]
    back = [math.log(float(z.grad.double().norm())) for z in kept]
    activation = np.array([rms[i + 1] - rms[i] for i in (0, 2, 4)])
    weight = np.array([rms[i + 2] - rms[i + 1] for i in (0, 2, 4)])
    assert taken.forward.activation == pytest.approx(activation, abs=1e-5)
    assert taken.forward.weight == pytest.approx(weight, abs=1e-5)
    activation = np.array([back[i] - back[i + 1] for i in (0, 2, 4)])
    weight = np.array([back[i + 1] - back[i + 2] for i in (0, 2, 4)])
    assert taken.backward.activation == pytest.approx(activation, abs=1e-5)
    assert taken.backward.weight == pytest.approx(weight, abs=1e-5)


@pytest.mark.parametrize("inplace", [False, True])
def test_the_skip_against_branches_that_were_kept_apart(read, inplace):
    """Each block is given its input twice, as two tensors: one for the branch, one for the skip."""
    net, x, y = Residual(inplace=inplace), vectors(), torch.randint(0, 4, (40,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    h, streams, branches, sums = net.stem(x), [], [], []
    for first, second in zip(net.first, net.second, strict=True):
        into_branch, into_skip = h.clone(), h.clone()
        pre = first(into_branch)
        branch = second(F.relu(pre))
        streams.append((h, into_branch, into_skip, pre))
        branches.append(branch)
        h = into_skip + branch
        sums.append(h)
    loss = F.cross_entropy(net.head(h), y)
    layers = taken.backward.layers
    for k, (stream, into_branch, into_skip, pre) in enumerate(streams):
        whole, own, other, behind = torch.autograd.grad(
            loss, (stream, into_branch, into_skip, pre), retain_graph=True
        )
        assert torch.allclose(whole, own + other, atol=1e-7)
        row = layers.index(f"first.{k}") - 1  # the step from the layer before to first.k
        by_skip = math.log(float(whole.norm()) / float(own.norm()))
        by_weight = math.log(float(own.norm()) / float(behind.norm()))
        assert taken.backward.skip[row] == pytest.approx(by_skip, abs=1e-5)
        assert taken.backward.weight[row] == pytest.approx(by_weight, abs=1e-5)
        added = math.log(float((sums[k].norm() / branches[k].norm()).detach()))
        row = layers.index(f"second.{k}")  # the step from second.k to the layer after
        assert taken.forward.skip[row] == pytest.approx(added, abs=1e-5)


def test_queries_and_keys_are_no_skip(read):
    """What they send back joins the values' gradient, but nothing was added to the signal."""
    net, x = Transformer(), torch.randn(40, 6, 12)
    y = torch.randint(0, 4, (40,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    rows = [taken.backward.layers.index(f"qkv.{k}") for k in range(2)]  # from qkv to out
    assert (taken.backward.skip[rows] == 0).all()
    assert (taken.backward.other[rows] != 0).all()
    rows = [taken.backward.layers.index(f"out.{k}") for k in range(2)]  # from out to up: one skip
    assert (taken.backward.skip[rows] > 0).all()


def test_a_tensor_used_twice_by_one_call(read):
    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(12, 12), nn.Linear(12, 4)

        def forward(self, x):
            h = self.a(x)
            return self.b(h * h + h)

    net, x, y = Square(), vectors(), torch.randint(0, 4, (40,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    h = net.a(x)
    product, plain = h.clone(), h.clone()
    loss = F.cross_entropy(net.b(product * product + plain), y)
    own, other = torch.autograd.grad(loss, (product, plain))
    by_skip = math.log(float((own + other).norm() / own.norm()))
    assert taken.backward.skip[0] == pytest.approx(by_skip, abs=1e-5)


def test_a_dead_layer_has_an_infinite_loss_and_no_warning(read):
    net, x, y = mlp(), vectors(), torch.randint(0, 4, (40,))
    with torch.no_grad():
        net[2].weight.zero_()
        net[2].bias.zero_()
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    assert taken.forward.total[0] == -np.inf
    assert taken.backward.total[0] == -np.inf  # nothing comes through a zero matrix


def test_layers_behind_frozen_ones_only(read):
    net, x, y = mlp(), vectors(), torch.randint(0, 4, (40,))
    net[0].requires_grad_(False)
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    assert np.isnan(taken.backward.total[0])
    assert np.isfinite(taken.backward.total[1:]).all()
    assert np.isfinite(taken.forward.total).all()


def test_one_layer_has_nothing_to_attribute(read):
    net, x, y = nn.Linear(12, 4), vectors(), torch.randint(0, 4, (40,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    assert taken.forward is None
    assert taken.backward is None
