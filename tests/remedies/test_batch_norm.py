"""Statistics of batch norms: against torch's own recalculation, and the unfolded net."""

import copy

import pytest
import torch
from torch import nn

from sounding.remedies import prescribe, treat
from sounding.result import NotApplicable
from sounding.zoo.nets import mlp, resnet, separable


def images(n=16):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def trained(net, x, steps=5):
    """With statistics, scales and shifts that are not those of a new net."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) - 1).square().mean().backward()
        optimizer.step()
    return net


# -- recalibrated ----------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_recalibrated_is_torchs_update(training):
    net = trained(resnet(2), images())
    other = copy.deepcopy(net)
    batches = [torch.randn(8, 1, 8, 8) + 2 for _ in range(5)]
    torch.optim.swa_utils.update_bn(batches, other)
    net.train(training)
    order = iter(batches)
    treat(prescribe("recalibrate_statistics", batches=5), net, lambda: net(next(order)))
    for (name, one), two in zip(net.named_buffers(), other.buffers(), strict=True):
        if "num_batches" not in name:
            torch.testing.assert_close(one, two)
    assert all(m.training == training for m in net.modules())


def test_recalibrating_needs_batch_norms(cure):
    with pytest.raises(NotApplicable, match="no batch norm with running statistics"):
        cure(mlp(64, 8, 4), "recalibrate_statistics")
    net = nn.Sequential(nn.Linear(64, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.raises(NotApplicable, match="no batch norm with running"):
        cure(net, "recalibrate_statistics")
    with pytest.raises(ValueError, match="batches is 0"):
        cure(nn.Sequential(nn.BatchNorm1d(64)), "recalibrate_statistics", batches=0)


# -- frozen ----------------------------------------------------------------------------------------


def test_frozen_norms_are_in_evaluation_mode_whatever_is_said(cure):
    net, x = trained(resnet(1), images()), images()
    other = copy.deepcopy(net).eval()
    cure(net, "freeze_norm", inputs=x)
    net.train()
    buffers = [b.clone() for b in net.buffers()]
    output = net(x)
    torch.testing.assert_close(output, other(x))
    output.sum().backward()
    assert all(map(torch.equal, net.buffers(), buffers))
    assert net[1].weight.grad is not None
    assert all(m.training for m in net.modules())
    torch.testing.assert_close(copy.deepcopy(net)(x), output)


def test_freezing_norms_needs_batch_norms(cure):
    with pytest.raises(NotApplicable, match="no batch norm"):
        cure(mlp(64, 8, 4), "freeze_norm")


# -- folded ----------------------------------------------------------------------------------------


NETS = {
    "linear": lambda: nn.Sequential(
        nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)
    ),
    "no bias": lambda: nn.Sequential(nn.Linear(64, 8, bias=False), nn.BatchNorm1d(8)),
    "not affine": lambda: nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8, affine=False)),
    "residual": lambda: resnet(2),
    "grouped": separable,
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(1, 4, 3, 2), nn.BatchNorm2d(4)),
}


@pytest.mark.parametrize("name", NETS)
def test_folded_is_the_same_function(name):
    torch.manual_seed(0)
    x = torch.randn(32, 64) if name in ("linear", "no bias", "not affine") else images(32)
    net = trained(NETS[name](), x).double()
    x = x.double()
    before = net.eval()(x)
    treat(prescribe("fold_batch_norm"), net, lambda: net(x))
    torch.testing.assert_close(net(x), before, rtol=1e-6, atol=1e-9)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())
    assert not any(m.training for m in net.modules())


def test_folded_in_single_precision_to_its_digits(cure):
    x = images(32)
    net = trained(resnet(2), x).eval()
    before = net(x)
    cure(net, "fold_batch_norm", inputs=x)
    torch.testing.assert_close(net(x), before, rtol=1e-5, atol=1e-6)
    assert net.training is False


class Branching(nn.Module):
    """The layer's output is used beside the norm, too."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(64, 8), nn.BatchNorm1d(8)

    def forward(self, x):
        x = self.layer(x)
        return x + self.norm(x)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(64, 64), nn.BatchNorm1d(64)

    def forward(self, x):
        return self.norm(self.layer(self.norm(self.layer(x))))


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp(64, 8, 4),
        Branching,
        Twice,
        lambda: nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.BatchNorm1d(8)),
        lambda: nn.Sequential(nn.Linear(64, 8), nn.Dropout(), nn.BatchNorm1d(8)),
        lambda: nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8, track_running_stats=False)),
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(64, 8)), nn.BatchNorm1d(8)
        ),
    ],
)
def test_what_cannot_be_folded_is_left_as_it_was(cure, make, x):
    net = make()
    text, values = str(net), [t.clone() for t in (*net.parameters(), *net.buffers())]
    with pytest.raises(NotApplicable, match="no batch norm stands right behind a layer"):
        cure(net, "fold_batch_norm")
    assert str(net) == text
    assert all(map(torch.equal, (*net.parameters(), *net.buffers()), values))


def test_another_function_is_not_left_behind(cure, x):
    """A norm of positions, not of features: the shapes agree, the function does not."""

    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8)

        def forward(self, x):
            return self.norm(self.layer(x.view(-1, 8, 8)))

    net = trained(Positions(), x)
    text, values = str(net), [t.clone() for t in (*net.parameters(), *net.buffers())]
    with pytest.raises(NotApplicable, match="the function is not the same"):
        cure(net, "fold_batch_norm")
    assert str(net) == text
    assert all(map(torch.equal, (*net.parameters(), *net.buffers()), values))
