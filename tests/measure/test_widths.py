"""The coordinate check against a step done by hand, and against the exponents of theory."""

import numpy as np
import pytest
import torch
from torch import nn

import sounding as sd
from sounding.measure import widths as module
from sounding.measure.widths import coordinate_check
from sounding.verdict import Estimate


def batch(rows=24, inputs=8):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, inputs, generator=generator)
    return x, torch.randn(rows, 1, generator=generator)


def linear(width):
    return nn.Sequential(nn.Linear(8, width, bias=False), nn.Linear(width, 1, bias=False))


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


def by_hand(width, seed, x, y):
    """Sizes and changes of both layers after one step of a two-layer linear net, in numpy."""
    torch.manual_seed(seed)
    net = linear(width)
    w1, w2 = (p.detach().double().numpy() for p in net.parameters())
    x, y = x.double().numpy(), y.double().numpy()
    hidden, slope = x @ w1.T, 2 * (x @ w1.T @ w2.T - y) / len(y)
    after1, after2 = w1 - 0.1 * (w2.T @ slope.T @ x), w2 - 0.1 * slope.T @ hidden
    outputs = hidden, hidden @ w2.T
    moved = x @ after1.T, x @ after1.T @ after2.T

    def rms(array):
        return np.sqrt(np.mean(array**2))

    return [rms(o) for o in outputs], [rms(m - o) for m, o in zip(moved, outputs, strict=True)]


def test_sizes_and_changes_are_those_of_a_step_by_hand():
    x, y = batch()
    with torch.random.fork_rng():
        expected = {(n, s): by_hand(n, s, x, y) for n in (4, 8, 16) for s in (0, 1)}
    check = coordinate_check(
        linear, nn.functional.mse_loss, (x, y), (16, 4, 8), optimizer=sgd, steps=1, seeds=2
    )
    assert check.layers == ("0", "1")
    assert check.widths.tolist() == [4, 8, 16]
    assert check.change.shape == (2, 3, 1, 2)
    for (width, seed), (size, change) in expected.items():
        at = check.widths.tolist().index(width)
        np.testing.assert_allclose(check.size[:, at, seed], size, rtol=1e-5)
        np.testing.assert_allclose(check.change[:, at, 0, seed], change, rtol=1e-4)


def test_large_outputs_are_sampled_without_bias():
    """300 features of 64 samples are sampled: 32 x 100, an error of 2 % and less."""
    x = batch(64)[0]
    net = nn.Linear(8, 300)
    looks = module._Looks(sd.Objective(lambda model, given: model(given).sum()), x)
    looks.begin(net)
    assert looks.size[0] == pytest.approx(net(x).square().mean().sqrt().item(), rel=0.08)


def dense(width):
    return nn.Sequential(
        nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )


def scaled(width):
    net = dense(width)
    for layer in net[::2]:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    with torch.no_grad():
        net[-1].weight *= (16 / width) ** 0.5
    return net


def scaled_adam(net):
    wide, factor = [net[2].weight, net[4].weight], 16 / net[0].out_features
    rest = [net[0].weight, *(layer.bias for layer in net[::2])]
    return torch.optim.Adam([{"params": wide, "lr": 1e-3 * factor}, {"params": rest, "lr": 1e-3}])


def test_hidden_layers_grow_with_adam_and_are_steady_in_the_maximal_update_parametrisation():
    """Adam's first step has the size of the rate: hidden changes grow as the width (Yang 2022)."""
    size = {"batch": batch(), "widths": (16, 64, 256, 512), "steps": 2}
    plain = coordinate_check(dense, nn.functional.mse_loss, **size)
    assert plain.outcomes == ("steady", "grows", "grows")
    assert 0.6 < plain.slopes[1].value < 1.1
    assert not plain.steady
    cured = coordinate_check(scaled, nn.functional.mse_loss, **size, optimizer=scaled_adam)
    assert cured.outcomes[:2] == ("steady", "steady")
    assert abs(cured.slopes[2].value) < 0.25
    assert cured.size_slopes[2].interval[1] < -0.25  # the output starts smaller, as it should
    assert "steady" in str(cured)
    assert "grows" in str(plain)


def test_dropout_is_no_change_and_random_state_is_given_back():
    def build(width):
        return nn.Sequential(nn.Linear(8, width), nn.Dropout(0.5), nn.Linear(width, 1))

    still = lambda net: torch.optim.SGD(net.parameters(), lr=0.0)  # noqa: E731
    before = torch.get_rng_state()
    check = coordinate_check(
        build, nn.functional.mse_loss, batch(), (4, 8, 16), optimizer=still, steps=2, seeds=1
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert not check.change.any()
    assert check.outcomes == ("undecided", "undecided")  # nothing moved, so there is no exponent


def test_a_training_that_diverges_has_no_exponent():
    wild = lambda net: torch.optim.SGD(net.parameters(), lr=1e30)  # noqa: E731
    check = coordinate_check(
        linear, nn.functional.mse_loss, batch(), (4, 8, 16), optimizer=wild, steps=4, seeds=1
    )
    assert np.isnan(check.slopes[0].value)


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((-0.2, 0.2), "steady"),
        ((0.3, 0.9), "grows"),
        ((-0.9, -0.3), "shrinks"),
        ((0.1, 0.4), "undecided"),
        ((np.nan, np.nan), "undecided"),
    ],
)
def test_the_interval_decides(interval, outcome):
    assert module._outcome(Estimate(value=0.0, interval=interval, level=0.95)) == outcome


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="three or more"):
        coordinate_check(linear, nn.functional.mse_loss, batch(), (4, 8))
    with pytest.raises(ValueError, match="differ in width alone"):
        coordinate_check(
            lambda n: linear(n) if n > 4 else nn.Sequential(nn.Linear(8, 1)),
            nn.functional.mse_loss,
            batch(),
            (4, 8, 16),
            steps=1,
            seeds=1,
        )
    with pytest.raises(ValueError, match="no layer with weights"):
        coordinate_check(
            lambda n: _Scale(), nn.functional.mse_loss, batch(), (4, 8, 16), steps=1, seeds=1
        )


class _Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x[:, :1] * self.scale


def test_the_figure_has_a_line_a_layer():
    check = coordinate_check(
        linear, nn.functional.mse_loss, batch(), (4, 8, 16), optimizer=sgd, steps=1, seeds=2
    )
    ax = check.plot()
    assert len(ax.containers) == 2
    assert "layers change more" in ax.get_title(loc="left") or "as much" in ax.get_title(loc="left")
