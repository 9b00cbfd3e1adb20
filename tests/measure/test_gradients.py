"""Gradients at every call and parameter against autograd, and their errors against redraws."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F


def _net():
    return nn.Sequential(
        nn.Linear(20, 150), nn.Tanh(), nn.Linear(150, 40), nn.ReLU(inplace=True), nn.Linear(40, 4)
    )


def _retained(net, x, y):
    """The gradient at every layer's output, kept by autograd."""
    kept, z = {}, x
    for name, layer in net.named_children():
        z = F.relu(z) if isinstance(layer, nn.ReLU) else layer(z)  # the in-place one out of place
        z.retain_grad()
        kept[name] = z
    F.cross_entropy(z, y).backward()
    return {name: z.grad.double() for name, z in kept.items()}


@pytest.mark.parametrize("batch", [1, 16, 64])
def test_rms_at_every_call_and_norm_of_every_parameter(read, batch):
    net, x, y = _net(), torch.randn(batch, 20), torch.randint(0, 4, (batch,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    wanted = _retained(net, x, y)
    for i, call in enumerate(taken.calls):
        if call.name in wanted:
            rms = float(wanted[call.name].square().mean().sqrt())
            assert taken.gradients.rms[i] == pytest.approx(rms, rel=1e-5)
    assert np.isnan(taken.gradients.rms[0])  # the input wants none
    assert taken.gradients.rms[-1] == 1.0  # the loss's with respect to itself
    for name, norm, size, ratio in zip(
        taken.gradients.parameters,
        taken.gradients.norm,
        taken.gradients.weight_norm,
        taken.gradients.ratio,
        strict=True,
    ):
        parameter = net.get_parameter(name)
        assert norm == pytest.approx(float(parameter.grad.double().norm()), rel=1e-5)
        assert size == pytest.approx(float(parameter.detach().double().norm()), rel=1e-5)
        assert ratio == pytest.approx(norm / size)


def test_the_error_is_the_scatter_over_redrawn_batches(read):
    """Within a factor 1.5, over 150 batches of 48 samples; the scatter is known to 6 %."""
    net = _net()
    values, errors = [], []
    for _ in range(150):
        x, y = torch.randn(48, 20), torch.randint(0, 4, (48,))
        found = read(net, lambda: F.cross_entropy(net(x), y), x).gradients  # noqa: B023
        values.append(found.rms[1:-1])
        errors.append(found.rms_error[1:-1])
    ratio = np.mean(errors, 0) / np.std(values, 0)
    assert ((ratio > 1 / 1.5) & (ratio < 1.5)).all(), ratio


@pytest.mark.parametrize("size", [1e-25, 1e-36])
def test_gradients_whose_squares_underflow(read, size):
    net, x, y = _net(), torch.randn(64, 20), torch.randint(0, 4, (64,))
    plain = read(net, lambda: F.cross_entropy(net(x), y), x).gradients
    tiny = read(net, lambda: F.cross_entropy(net(x), y) * size, x).gradients
    rel = 1e-5 if size > 1e-30 else 0.05  # below 1e-38 single precision has few digits left
    assert tiny.rms[1:5] == pytest.approx(plain.rms[1:5] * size, rel=rel)
    assert tiny.norm == pytest.approx(plain.norm * size, rel=rel)
    assert (tiny.norm > 0).all()


def test_unused_frozen_and_zero_parameters(read):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.idle = nn.Linear(20, 20), nn.Linear(20, 4), nn.Linear(3, 3)
            self.a.requires_grad_(False)
            nn.init.zeros_(self.b.bias)

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    net, x, y = Net(), torch.randn(8, 20), torch.randint(0, 4, (8,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    rows = dict(zip(taken.gradients.parameters, taken.gradients.norm, strict=True))
    assert list(rows) == ["b.weight", "b.bias", "idle.weight", "idle.bias"]
    assert np.isnan(rows["idle.weight"])
    assert taken.gradients.ratio[1] == np.inf  # a zero bias that has a gradient
    assert taken.notes == ("1 module with parameters never ran: idle",)


def test_the_gradient_that_is_no_number_is_found_from_the_loss_back(read):
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(20, 20), nn.Linear(20, 4)

        def forward(self, x):
            return self.b(torch.sqrt(torch.relu(self.a(x))))

    net, x = Root(), torch.randn(8, 20)
    taken = read(net, lambda: net(x).square().mean(), x)
    assert taken.signal.nonfinite == ()
    first = taken.calls[taken.gradients.nonfinite[0]]
    assert first.name == "#relu"  # sqrt'(0) is infinite


def test_a_shared_layer_has_one_gradient_a_call_and_one_a_parameter(read):
    layer, head = nn.Linear(20, 20), nn.Linear(20, 4)
    net = nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), head)
    x, y = torch.randn(8, 20), torch.randint(0, 4, (8,))
    taken = read(net, lambda: F.cross_entropy(net(x), y), x)
    assert [c.name for c in taken.calls if c.role == "weight"] == ["0", "0@2", "4"]
    assert list(taken.gradients.parameters) == ["0.weight", "0.bias", "4.weight", "4.bias"]
    F.cross_entropy(net(x), y).backward()
    assert taken.gradients.norm[0] == pytest.approx(float(layer.weight.grad.norm()), rel=1e-5)
