"""Weights against torch's own initialisers, matrices of known rank, and the scales of theory."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F


def _weights(read, net, x):
    return read(net, lambda: net(x).square().mean(), x).weights


def _row(weights, name):
    return weights.parameters.index(name)


def test_variance_and_second_moment_are_exact(read):
    net, x = nn.Linear(40, 30), torch.randn(8, 40)
    with torch.no_grad():
        net.weight += 0.3
    found = _weights(read, net, x)
    entries = net.weight.detach().double()
    assert found.parameters == ("weight",)
    assert found.variance[0] == pytest.approx(float(entries.var(unbiased=False)), rel=1e-4)
    assert found.second_moment[0] == pytest.approx(float(entries.square().mean()), rel=1e-6)
    assert (found.fan_in[0], found.fan_out[0], found.units[0]) == (40, 30, 30)


@pytest.mark.parametrize("draw", [nn.init.normal_, nn.init.uniform_])
def test_the_error_of_the_variance_is_its_scatter_over_initialisations(read, draw):
    """Within a factor 1.5, over 200 draws: normal weights scatter more than uniform ones."""
    net, x = nn.Linear(20, 10), torch.randn(4, 20)
    rows = []
    for _ in range(200):
        draw(net.weight)
        found = _weights(read, net, x)
        rows.append((found.variance[0], found.variance_error[0]))
    values, errors = np.array(rows).T
    assert 1 / 1.5 < errors.mean() / values.std() < 1.5


FANS = {
    "linear": (nn.Linear(12, 7), (4, 12), (12, 7, 7)),
    "conv1d": (nn.Conv1d(6, 8, 3), (4, 6, 9), (18, 24, 8)),
    "conv2d": (nn.Conv2d(6, 8, (3, 5)), (4, 6, 9, 9), (90, 120, 8)),
    "strided": (nn.Conv2d(6, 8, 4, stride=2), (4, 6, 9, 9), (96, 32, 8)),
    "depthwise": (nn.Conv2d(6, 12, 3, groups=6), (4, 6, 9, 9), (9, 18, 12)),
    "transposed": (nn.ConvTranspose2d(6, 8, 4, stride=2), (4, 6, 5, 5), (24, 128, 8)),
    "transposed groups": (nn.ConvTranspose1d(6, 8, 2, groups=2), (4, 6, 5), (6, 8, 8)),
    "bilinear": (nn.Bilinear(3, 4, 5), (4, 3, 4), (12, 5, 5)),
}


class Twice(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        if isinstance(self.layer, nn.Bilinear):
            return self.layer(x[:, :, 0], x[:, 0])
        return self.layer(x)


@pytest.mark.parametrize("kind", FANS)
def test_fans_keep_the_second_moment(read, kind):
    """The fans by hand; and weights of variance 1/fan_in put out the second moment that goes in."""
    layer, shape, (fan_in, fan_out, units) = FANS[kind]
    net, x = Twice(layer), torch.randn(shape)
    found = _weights(read, net, x)
    assert (found.fan_in[0], found.fan_out[0], found.units[0]) == (fan_in, fan_out, units)
    if kind == "bilinear":
        return
    with torch.no_grad():
        nn.init.normal_(layer.weight, std=fan_in**-0.5)
        nn.init.zeros_(layer.bias)
        wide = torch.randn(
            256, *shape[1:-1], *[40] * bool(shape[2:]), *shape[-1:] * (not shape[2:])
        )
        if len(shape) > 3:
            wide = torch.randn(64, shape[1], 40, 40)
        ratio = float(net(wide).square().mean() / wide.square().mean())
    assert ratio == pytest.approx(1.0, abs=0.35)


SCHEMES = {
    "pytorch default": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    "kaiming": nn.init.kaiming_normal_,
    "kaiming fan_out": lambda w: nn.init.kaiming_normal_(w, mode="fan_out"),
    "xavier": nn.init.xavier_uniform_,
    "normal(0.02)": lambda w: nn.init.normal_(w, std=0.02),
    "zero": nn.init.zeros_,
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_are_recognised(read, scheme):
    """Twenty layers of each; at 4 standard errors one in 16,000 is missed."""
    for _ in range(20):
        net, x = nn.Conv2d(24, 40, 3, stride=2, bias=False), torch.randn(2, 24, 7, 7)
        SCHEMES[scheme](net.weight)
        assert _weights(read, net, x).scheme == (scheme,)


class First(nn.Module):
    """The first thing that a recurrent layer returns."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        made = self.layer(x)
        return made[0] if isinstance(made, tuple) else made


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell])
def test_recurrent_layers_draw_all_weights_by_the_hidden_units(read, kind):
    """U(-1/sqrt(H), 1/sqrt(H)) for both matrices: variance 1/(3 H), a layer's of H inputs."""
    for seed in range(10):
        torch.manual_seed(seed)
        shape = (6, 10) if kind in (nn.LSTMCell, nn.GRUCell) else (6, 5, 10)
        found = _weights(read, First(kind(10, 32)), torch.randn(shape))
        assert found.scheme[0]
        assert found.scheme[1] == "pytorch default"
        assert found.variance == pytest.approx(1 / 96, rel=0.2)


def test_an_orthogonal_weight_has_lecuns_variance(read):
    net = nn.Linear(64, 32)
    nn.init.orthogonal_(net.weight)
    assert _weights(read, net, torch.randn(2, 64)).scheme[0] in ("orthogonal", "lecun")


def test_needed_variance_is_that_of_the_activation_that_follows(read):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 9)
            self.table, self.lstm = nn.Embedding(9, 9), nn.LSTM(9, 9)

        def forward(self, tokens):
            h = torch.relu(self.a(self.table(tokens)))
            h = F.leaky_relu(self.b(h), 0.5)
            return self.lstm(self.c(h))[0]

    net, tokens = Net(), torch.randint(0, 9, (4, 5))
    found = _weights(read, net, tokens)
    needed = dict(zip(found.parameters, found.needed, strict=True))
    assert needed["a.weight"] == pytest.approx(2.0)
    assert needed["b.weight"] == pytest.approx(2 / 1.25)
    assert needed["c.weight"] == pytest.approx(1.0)
    assert np.isnan([needed["table.weight"], needed["lstm.weight_ih_l0"]]).all()
    assert found.parameters[-1] == "lstm.weight_hh_l0"  # looked at as well


@pytest.mark.parametrize("rank", [0, 1, 3, 15, 16, 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rank(read, rank, dtype):
    """Sums of random outer products, also with singular values that fall by a factor 1,000."""
    for decay in (1.0, 1e-3):
        scales = decay ** (torch.arange(rank) / max(rank - 1, 1))
        matrix = (torch.randn(50, rank) * scales).double() @ torch.randn(rank, 70).double()
        net = nn.Linear(70, 50, dtype=dtype)
        with torch.no_grad():
            net.weight.copy_(matrix)
        found = _weights(read, net, torch.randn(4, 70, dtype=dtype))
        assert found.rank[0] == min(rank, 16)


def test_rank_of_structured_matrices(read):
    for matrix, rank in (
        (torch.eye(40), 16),
        (torch.ones(40, 40), 1),
        (torch.diag((torch.arange(40) < 5).float()), 5),
        (nn.init.orthogonal_(torch.empty(40, 40)), 16),
        (torch.randn(40, 3) @ torch.randn(3, 40), 3),
    ):
        net = nn.Linear(40, 40)
        with torch.no_grad():
            net.weight.copy_(matrix)
        assert _weights(read, net, torch.randn(4, 40)).rank[0] == rank


def test_equal_units_and_what_keeps_them_equal(read):
    net, x = nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 4)), torch.randn(16, 9)
    with torch.no_grad():
        net[0].weight[3] = net[0].weight[5]
        net[0].bias[3] = net[0].bias[5]
    found = _weights(read, net, x)
    assert found.duplicates.tolist() == [2, 0]
    assert found.symmetric.tolist() == [0, 0]  # the next layer treats them differently
    with torch.no_grad():
        nn.init.constant_(net[0].weight, 0.1)
        nn.init.constant_(net[2].weight, 0.1)
        nn.init.zeros_(net[0].bias)
    found = _weights(read, net, x)
    assert found.duplicates.tolist() == [12, 4]
    assert found.symmetric[0] == 12


def test_weights_that_are_not_used_are_not_listed(read):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.idle = nn.Linear(9, 4), nn.Linear(9, 4)

        def forward(self, x):
            return self.a(x)

    assert _weights(read, Net(), torch.randn(4, 9)).parameters == ("a.weight",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(read, dtype):
    net = nn.Linear(40, 30, dtype=dtype)
    found = _weights(read, net, torch.randn(8, 40, dtype=dtype))
    assert found.variance[0] == pytest.approx(1 / 120, rel=0.1)
    assert found.rank[0] == 16


def test_broken_weights_say_so_without_a_warning(read):
    net = nn.Linear(40, 30)
    with torch.no_grad():
        net.weight[3, 4] = math.nan
    found = _weights(read, net, torch.randn(8, 40))
    assert np.isnan(found.second_moment[0])
    assert found.scheme == ("",)
    assert found.rank[0] == 0
