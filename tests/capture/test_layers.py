"""The sizes at weighted calls: those of the recorder, under its names, and torch's own gradients.

The oracle of the numbers is a forward pass by hand with `retain_grad`, that of the names the
recorder. What could go wrong unseen: an output that is overwritten before it is looked at.
"""

import contextlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture import layers as module
from sounding.capture.layers import Layers
from sounding.capture.recorder import Recorder


class Branches(nn.Module):
    """Reused, tied, functional and attentive weights."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.fc = nn.Linear(8, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.bare = nn.Parameter(torch.randn(8, 8))
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        x = self.fc(torch.tanh(self.fc(self.embed(x))))
        x = x + self.attend(x, x, x, need_weights=False)[0]
        return self.head(torch.relu(x @ self.bare))


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.fc(torch.tanh(self.fc(x)))))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip


NETS = {
    "plain": lambda: (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)), (7, 6)),
    "overwritten": lambda: (convolutional(), (5, 3, 6, 6)),
    "reused": lambda: (Reused(), (7, 6)),
    "branches": lambda: (Branches(), None),
}


def case(name):
    torch.manual_seed(0)
    net, shape = NETS[name]()
    x = torch.randint(0, 10, (5, 4)) if shape is None else torch.randn(shape)
    return net, lambda: net(x).square().mean()


def recorded(net, compute):
    recorder = Recorder(net)
    with recorder.watching():
        loss = compute()
        recorder.ends_with(loss)
    loss.backward()
    return recorder


def looked(layers, compute):
    """One pass, as a training calls for it: of plain nets the model's class tells of its call."""
    layers.restart()
    if layers.plain:
        with layers.one_call():
            loss = compute()
        layers.finish()
    else:
        hooks = [
            nn.modules.module.register_module_forward_pre_hook(layers.enter),
            nn.modules.module.register_module_forward_hook(
                lambda m, args, out: layers.leave(m, args, {}, out)
            ),
        ]
        with layers.listening():
            loss = compute()
        for hook in hooks:
            hook.remove()
    loss.backward()
    layers.read()
    return layers.weighted


def rms(reduced):
    if reduced.norms is None:
        return reduced.sample.double().square().mean().sqrt().item()
    return (reduced.norms.double().square().sum() / reduced.numel).sqrt().item()


@pytest.mark.parametrize("held", [module.HELD, 200])
@pytest.mark.parametrize("name", NETS)
def test_sizes_and_names_are_those_of_the_recorder(name, held, monkeypatch):
    monkeypatch.setattr(module, "HELD", held)
    net, compute = case(name)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = 0.0
    recorder = recorded(net, compute)
    layers = Layers(recorder)
    assert layers.plain == (name != "branches")
    for _ in range(3):  # first at once, then at the end where nothing overwrites
        found = looked(layers, compute)
        assert [f.name for f in found] == [node.name for node in recorder.weighted]
        for one, node in zip(found, recorder.weighted, strict=True):
            assert rms(one.output) == pytest.approx(rms(node.output), rel=1e-5)
            assert rms(one.gradient) == pytest.approx(rms(node.gradient), rel=1e-4)


def test_the_numbers_are_torchs_own():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    x = torch.randn(7, 6)
    layers = Layers(recorded(net, lambda: net(x).square().mean()))
    hidden = net[0](x)
    hidden.retain_grad()
    net[2](torch.tanh(hidden)).square().mean().backward()
    for _ in range(2):
        first = looked(layers, lambda: net(x).square().mean())[0]
        assert rms(first.output) == pytest.approx(hidden.detach().square().mean().sqrt().item())
        assert rms(first.gradient) == pytest.approx(hidden.grad.square().mean().sqrt().item())


def test_an_output_that_is_overwritten_later_than_before_is_left_out_once():
    torch.manual_seed(0)
    net, x, harm = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)), torch.randn(7, 6), []
    layers = Layers(recorded(net, lambda: net(x).square().mean()))

    def compute():
        out = net[0](x)
        return net[1](out.zero_() if harm else out).square().mean()

    looked(layers, compute)
    expected = [rms(one.output) for one in looked(layers, compute)]
    harm.append(True)
    assert looked(layers, compute)[0].output is None  # and not the size of what overwrote it
    assert rms(looked(layers, compute)[0].output) == pytest.approx(expected[0])


def test_nothing_stays_behind_and_a_second_call_is_no_part_of_the_first():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)), torch.randn(7, 6)
    layers, before = Layers(recorded(net, lambda: net(x).square().mean())), F.linear
    layers.restart()
    with contextlib.suppress(RuntimeError), layers.one_call():
        assert F.linear is not before
        raise RuntimeError
    assert F.linear is before
    layers.restart()
    for _ in range(2):
        with layers.one_call():
            net(x)
    assert layers.cut
    assert [one.name for one in layers.weighted] == ["0", "1"]


def test_tiny_and_huge_numbers_keep_their_size():
    """Their squares have no place in single precision."""
    for scale in (1e-25, 1e25):
        (found,) = module.measured([torch.full((4, 3), scale)])
        np.testing.assert_allclose(found.norms.numpy(), scale * 3**0.5, rtol=1e-6)
