"""Fixup (Zhang et al. 2019): the formula by hand, and an update that does not grow with depth."""

import math

import pytest
import torch
from torch import nn

from sounding.result import NotApplicable
from sounding.zoo.nets import Residual, mlp, resnet
from sounding.zoo.sequences import VisionTransformer


def agrees(weight, variance):
    measured = float(weight.detach().square().mean())
    assert measured == pytest.approx(variance, rel=4.5 * math.sqrt(2 / weight.numel()))


@pytest.mark.parametrize("blocks", [4, 25])
def test_branches_of_two_layers(cure, blocks):
    """m = 2: the first layer times L^(-1/2), the second 0, and the head 0."""
    net = cure(Residual(blocks, 64), "reinitialise", scheme="fixup")
    for up, down in zip(net.up, net.down, strict=True):
        agrees(up.weight, 2 / 64 / blocks)
        assert not down.weight.any()
    agrees(net.stem.weight, 2 / 64)
    assert not net.head.weight.any()
    assert not any(p.any() for name, p in net.named_parameters() if "bias" in name)


class Deeper(nn.Module):
    """Branches of three layers, one of them with a projection beside it, without an end's zeros."""

    def __init__(self):
        super().__init__()
        self.first = mlp(64, 96, 96, 80)
        self.project = nn.Linear(64, 80)
        self.second = nn.Linear(80, 80)
        self.head = nn.Linear(80, 10)

    def forward(self, x):
        x = self.first(x) + self.project(x)
        return self.head(x + self.second(torch.relu(x)))


def test_longer_branches_and_projections(cure):
    net = cure(Deeper(), "reinitialise", scheme="fixup")
    factor = 2 ** (-1 / 4)  # L = 2, m = 3
    agrees(net.first[0].weight, 2 / 64 * factor**2)
    agrees(net.first[2].weight, 2 / 96 * factor**2)
    assert not net.first[4].weight.any()
    assert not net.second.weight.any()  # m = 1
    agrees(net.project.weight, 2 / 64)


def test_what_was_zero_on_purpose_is_drawn_too(cure):
    net = cure(Residual(9, last=0.0), "reinitialise", scheme="fixup")
    agrees(net.up[3].weight, 2 / 64 / 9)


def test_an_update_does_not_grow_with_depth(cure, x):
    """Claims D5: the outputs change by O(learning rate), whatever the number of blocks."""
    changes = []
    for blocks in (4, 16, 64):
        net = cure(Residual(blocks, 32), "reinitialise", scheme="fixup")
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(2):  # in the first step only the head moves
            before = net(x).detach()
            nn.functional.cross_entropy(net(x), torch.arange(64) % 10).backward()
            optimizer.step()
        changes.append(float((net(x) - before).detach().square().mean().sqrt()))
    assert max(changes) < 2 * min(changes)


def test_where_fixup_does_not_fit(cure, x):
    with pytest.raises(NotApplicable, match="no residual branch"):
        cure(mlp(64, 32, 10), "reinitialise", scheme="fixup")
    images = x.view(-1, 1, 8, 8)
    with pytest.raises(NotApplicable, match="the residual branches are normalised"):
        cure(resnet(2), "reinitialise", inputs=images, scheme="fixup")
    with pytest.raises(NotApplicable, match=r"normalised|attentions"):
        cure(VisionTransformer(1), "reinitialise", inputs=images, scheme="fixup")
