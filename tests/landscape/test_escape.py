"""Ways out of saddles: where they end, what they cost, and against one another."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import sounding as sd
from sounding.landscape.escape import STEPS


class Bent(nn.Module):
    """x'Hx / 2 + x_1^4 / 4 with smallest eigenvalue -gamma: minima at -gamma^2 / 4."""

    def __init__(self, d=10, gamma=0.5, scale=1.0):
        super().__init__()
        self.gamma, self.scale = gamma, scale
        self.x = nn.Parameter(torch.zeros(d, dtype=torch.float64))

    def forward(self):
        x = self.x
        bowl = 0.5 * (x[1:].square().sum() - self.gamma * x[0] ** 2)
        return self.scale * (bowl + x[0] ** 4 / 4)


class Linear3(nn.Module):
    """1/2 ||W3 W2 W1 - M||^2 at the origin, where the Hessian vanishes; minimum 1/2 (1 + 1/4)."""

    def __init__(self):
        super().__init__()
        shapes = (2, 4), (2, 2), (4, 2)
        self.w = nn.ParameterList(nn.Parameter(torch.zeros(s).double()) for s in shapes)
        self.m = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64))

    def forward(self):
        return 0.5 * (self.w[2] @ self.w[1] @ self.w[0] - self.m).square().sum()


@pytest.mark.parametrize("scale", [1.0, 1e-4])
@pytest.mark.parametrize("method", STEPS)
def test_every_method_leaves_a_strict_saddle_and_certifies_the_minimum(method, scale):
    model = Bent(scale=scale)
    found = sd.escape(model, method=method, steps=3000)
    assert found.escaped, found.note
    assert found.certificate.kind == "strict minimum"
    assert found.loss == pytest.approx(-scale / 16, rel=1e-9)
    assert found.certificate.smallest == pytest.approx(scale, rel=1e-4)
    assert not model.x.detach().any()  # given back
    assert found.gradients >= found.steps > 0


def test_a_step_along_curvature_is_cheaper_than_newtons_and_both_than_noise():
    cost = {m: sd.escape(Bent(gamma=0.05), method=m, steps=5000) for m in STEPS}
    assert all(found.escaped for found in cost.values())
    gradients = {m: found.gradients + 2 * found.products for m, found in cost.items()}
    by_curvature = max(gradients["negative_curvature"], gradients["cubic"])
    assert 5 * by_curvature < min(gradients["perturbed"], gradients["noise"])


@pytest.mark.parametrize("method", ["negative_curvature", "cubic"])
def test_a_non_strict_saddle_is_left_by_its_way_down(method):
    found = sd.escape(Linear3(), method=method)
    assert found.escaped
    assert found.certificate.kind == "degenerate"
    assert found.loss == pytest.approx(0.5 * (1 + 0.25), rel=1e-6)


def test_at_a_minimum_there_is_no_way_out_and_that_is_said():
    model = Bent()
    with torch.no_grad():
        model.x[0] = 0.5**0.5
    found = sd.escape(model)
    assert not found.escaped
    assert found.certificate.kind == "strict minimum"
    assert "no way down" in found.note
    assert str(found).startswith("DID NOT ESCAPE")


def test_apply_moves_the_model_to_the_certified_point():
    model = Bent()
    found = sd.escape(model, apply=True)
    assert found.applied
    assert float(model().detach()) == pytest.approx(found.loss, rel=1e-12)
    assert sd.stationary(model, search=False).kind == "strict minimum"
    other = Bent()
    found.load_into(other)
    assert torch.equal(other.x, model.x)


def test_a_network_of_equal_units_gains_units_that_differ():
    """Descent keeps units that begin equal equal; the way out of their saddle parts them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, dtype=torch.float64, generator=generator)
    y = torch.tanh(x[:, :1]) - torch.tanh(2 * x[:, 1:2])
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(0.1)
    saddle = sd.stationary(net, nn.functional.mse_loss, (x, y))
    saddle.load_into(net)
    assert saddle.kind == "strict saddle"
    random = torch.get_rng_state()
    batches = [(x[:32], y[:32]), (x[32:], y[32:])]
    found = sd.escape(net, nn.functional.mse_loss, batches, apply=True, steps=100)
    assert torch.equal(torch.get_rng_state(), random)
    assert found.loss < 0.5 * found.start_loss
    assert float(net[0].weight.detach().std(0).min()) > 0.01


def test_the_path_begins_at_the_start_and_losses_are_its():
    model = Bent(3)
    found = sd.escape(model, method="cubic", keep_path=True)
    assert found.path.shape == (found.steps, 3)
    assert not found.path[0].any()
    x = found.path
    heights = 0.5 * ((x[:, 1:] ** 2).sum(1) - 0.5 * x[:, 0] ** 2) + x[:, 0] ** 4 / 4
    np.testing.assert_allclose(found.losses, heights, atol=1e-12)


def test_it_survives_being_saved(tmp_path):
    found = sd.escape(Bent(3))
    again = sd.load(found.save(tmp_path / "escape.json"))
    assert isinstance(again, sd.Escape)
    assert again.certificate.kind == found.certificate.kind
    np.testing.assert_array_equal(again.losses, found.losses)
    assert math.isclose(again.loss, found.loss)


def test_an_end_that_curves_down_a_little_is_said_to():
    """The curvature -0.02 at the end passes sqrt(rho eps) of a coarse tolerance."""

    class Ledge(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.tensor([1e-3, 0.0], dtype=torch.float64))

        def forward(self):
            x, y = self.x
            return (x**2 - 1) ** 2 - 0.01 * y**2 + y**4

    coarse = sd.escape(Ledge(), tol=1e-2)
    assert coarse.escaped
    assert coarse.certificate.kind == "strict saddle"
    assert "smaller tol" in coarse.note
    assert "smaller tol" in str(coarse)
    fine = sd.escape(Ledge(), tol=1e-6)
    assert (fine.certificate.kind, fine.note) == ("strict minimum", "")


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="negative_curvature, cubic, perturbed, noise"):
        sd.escape(Bent(), method="jump")


def test_an_interrupt_gives_the_model_back():
    def interrupt(*_):
        raise KeyboardInterrupt

    model = Bent()
    with pytest.raises(KeyboardInterrupt):
        sd.escape(model, progress=interrupt)
    assert not model.x.detach().any()
