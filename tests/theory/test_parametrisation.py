"""The table of Yang, Hu et al. 2022, checked by what it is for: finite changes at every width."""

import pytest
import torch
from torch import nn

from sounding.theory.parametrisation import OPTIMISERS, maximal_update

BASE = 32


def change_of_output(width, optimiser, *, scaled):
    """Rms change of a three-layer net's output after two full steps, mean over eight seeds."""
    changes = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(16, 8, generator=generator)
        y = torch.randn(16, 1, generator=generator)
        layers = [nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 1)]
        groups = []
        for role, layer in zip(("input", "hidden", "output"), layers, strict=True):
            factor = maximal_update(role, width / BASE if scaled else 1.0, optimiser=optimiser)
            std = (factor.variance / layer.in_features) ** 0.5
            with torch.no_grad():
                layer.weight.copy_(std * torch.randn(layer.weight.shape, generator=generator))
                layer.bias.zero_()
            groups.append({"params": [layer.weight], "lr": 0.01 * factor.lr})
            groups.append({"params": [layer.bias], "lr": 0.01 * factor.bias_lr})
        net = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])
        optimiser_of_net = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimiser](groups)
        start = net(x).detach()
        for _ in range(2):
            optimiser_of_net.zero_grad()
            nn.functional.mse_loss(net(x), y).backward()
            optimiser_of_net.step()
        changes.append((net(x).detach() - start).square().mean().sqrt().item())
    return sum(changes) / len(changes)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_output_changes_alike_at_every_width(optimiser):
    narrow, wide = (change_of_output(n, optimiser, scaled=True) for n in (BASE, 16 * BASE))
    assert wide / narrow == pytest.approx(1, abs=0.5)
    assert change_of_output(16 * BASE, optimiser, scaled=False) / narrow > 3


def test_the_base_width_is_left_as_it_is():
    for role in ("input", "hidden", "output"):
        for optimiser in OPTIMISERS:
            assert maximal_update(role, 1, optimiser=optimiser) == (1, 1, 1)


@pytest.mark.parametrize("wrong", [("inner", 2), ("hidden", 0)])
def test_what_is_wrong_is_said(wrong):
    with pytest.raises(ValueError, match=r"role|ratio"):
        maximal_update(*wrong)
