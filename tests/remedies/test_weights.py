"""New weights have the variance that their scheme and the executed activation ask for.

The sampling error of a variance of n normal numbers is sqrt(2 / n); 4.5 of them are allowed, which
a sound layer exceeds once in 150,000. What its author set on purpose must not move by a bit.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import NotApplicable
from sounding.theory import activation, required_gain
from sounding.zoo.nets import Plain, PlainConv, Residual, ReZero, UNet, drawn, mlp
from sounding.zoo.sequences import LanguageModel, VisionTransformer

ACTIVATIONS = {
    "relu": (nn.ReLU, {}),
    "leaky_relu": (lambda: nn.LeakyReLU(0.2), {"slope": 0.2}),
    "tanh": (nn.Tanh, {}),
    "sigmoid": (nn.Sigmoid, {}),
    "gelu": (nn.GELU, {}),
    "silu": (nn.SiLU, {}),
    "elu": (nn.ELU, {}),
    "selu": (nn.SELU, {}),
}


def agrees(weight, variance):
    """Whether the mean square of the entries is `variance`, within the sampling error."""
    measured = float(weight.detach().square().mean())
    assert measured == pytest.approx(variance, rel=4.5 * math.sqrt(2 / weight.numel()))


def kept(net, names, act):
    """Whether `act` leaves these parameters as they are, bit for bit."""
    before = {name: net.get_parameter(name).detach().clone() for name in names}
    act()
    return all(torch.equal(net.get_parameter(name), before[name]) for name in names)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gain_of_the_activation_that_follows(cure, name):
    make, arguments = ACTIVATIONS[name]
    net = cure(mlp(64, 200, 100, 10, activation=make), "reinitialise")
    gain = required_gain(activation(name, **arguments))
    agrees(net[0].weight, gain**2 / 64)
    agrees(net[2].weight, gain**2 / 200)
    agrees(net[4].weight, 1 / 100)  # nothing follows the last layer
    assert not any(layer.bias.any() for layer in net if isinstance(layer, nn.Linear))


@pytest.mark.parametrize(
    ("function", "gain"),
    [(torch.relu, 2**0.5), (functional.gelu, 1.5335), (lambda x: x.clamp(min=0), 2**0.5)],
)
def test_functional_activations_are_seen(cure, function, gain):
    net = cure(Plain(64, 128, 128, 10, activation=function), "reinitialise")
    agrees(net.layers[1].weight, gain**2 / 128)


@pytest.mark.parametrize(
    ("scheme", "first", "second"),
    [
        ("kaiming", 2 / 64, 2 / 200),
        ("kaiming_fan_out", 2 / 200, 2 / 100),
        ("xavier", 2 / 264, 2 / 300),
        ("lecun", 1 / 64, 1 / 200),
        ("orthogonal", 2 / 64, 2 / 200),
    ],
)
def test_schemes(cure, scheme, first, second):
    net = cure(mlp(64, 200, 100, 10), "reinitialise", scheme=scheme)
    agrees(net[0].weight, first)
    agrees(net[2].weight, second)


def test_orthogonal_is_orthogonal(cure):
    net = cure(mlp(64, 64, 64, 10), "reinitialise", scheme="orthogonal")
    square = net[2].weight.detach() @ net[2].weight.detach().T
    torch.testing.assert_close(square, 2 * torch.eye(64), atol=1e-5, rtol=0)


def test_convolutions(cure, x):
    images = x.view(-1, 1, 8, 8)
    net = cure(PlainConv(3, 32), "reinitialise", inputs=images)
    agrees(net.layers[1].weight, 2 / (32 * 9))
    agrees(net.head.weight, 1 / 512)
    net = cure(UNet(24), "reinitialise", inputs=images)
    agrees(net.up2.weight, 1 / 48)  # stride 2, kernel 2: each output sums one position
    agrees(net.middle.weight, 2 / (48 * 9))


def test_through_a_residual_branch_and_a_norm(cure):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch, self.head = nn.Linear(64, 128), nn.Linear(128, 128), None
            self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 10)

        def forward(self, x):
            x = self.stem(x)
            return self.head(torch.relu(self.norm(x + self.branch(x))))

    net = cure(Block(), "reinitialise")
    agrees(net.branch.weight, 2 / 128)
    agrees(net.stem.weight, 2 / 64)


def test_signal_is_kept_through_thirty_layers(cure, x):
    net = drawn(Plain(64, *[256] * 29, 10), lambda w: nn.init.normal_(w, std=0.01))
    cure(net, "reinitialise")
    sizes = []
    for layer in net.layers:
        layer.register_forward_hook(lambda *_: sizes.append(float(_[2].detach().norm())))
    net(x)
    # each layer's log-gain scatters by sqrt(5 / 256) / 2: 0.38 in all, and 3 of these
    assert abs(math.log(sizes[-1] / sizes[0])) < 1.2


# -- what is left alone ----------------------------------------------------------------------------


def test_embeddings_ties_and_attention_stay(cure):
    tokens = torch.randint(0, 32, (16, 12))
    net = LanguageModel(2, tied=True)
    left = [n for n, _ in net.named_parameters() if not ("up" in n or "down" in n)]
    left = [n for n in left if "bias" not in n or "norm" in n]
    assert "table.weight" in left
    assert any("qkv" in n for n in left)
    assert any("out" in n for n in left)
    before = net.blocks[0].up.weight.detach().clone()
    assert kept(net, left, lambda: cure(net, "reinitialise", inputs=tokens))
    assert not torch.equal(net.blocks[0].up.weight, before)


def test_attention_written_out_and_torchs_own_stay(cure, x):
    class Attending(nn.Module):
        def __init__(self, own):
            super().__init__()
            self.own = nn.MultiheadAttention(16, 2, batch_first=True) if own else None
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
            self.up, self.head = nn.Linear(16, 64), nn.Linear(64, 10)

        def forward(self, x):
            x = x.view(len(x), 4, 16)
            if self.own is not None:
                x = self.own(x, x, x)[0]
            else:
                q, k, v = self.qkv(x).chunk(3, -1)
                x = self.out(((q @ k.transpose(1, 2)) / 4).softmax(-1) @ v)
            return self.head(torch.relu(self.up(x)).mean(1))

    own = Attending(True)
    names = ["own.in_proj_weight", "own.out_proj.weight"]
    assert kept(own, names, lambda: cure(own, "reinitialise"))
    agrees(own.up.weight, 2 / 16)
    out = Attending(False)
    assert kept(out, ["qkv.weight", "out.weight"], lambda: cure(out, "reinitialise"))


def test_zeros_on_purpose_stay_and_others_do_not(cure, x):
    ends = [f"down.{n}.weight" for n in range(6)]
    net = Residual(6, last=0.0)
    assert kept(net, ends, lambda: cure(net, "reinitialise"))
    agrees(net.up[0].weight, 2 / 64)
    gated = ReZero()
    assert kept(gated, ["gates"], lambda: cure(gated, "reinitialise", inputs=x[:, :32]))
    vision, images = VisionTransformer(1), x.view(-1, 1, 8, 8)
    assert kept(vision, ["head.weight"], lambda: cure(vision, "reinitialise", inputs=images))
    stuck = mlp(64, 64, 64, 64, 10)
    for number in (2, 4):
        nn.init.zeros_(stuck[number].weight)
    cure(stuck, "reinitialise")
    agrees(stuck[2].weight, 2 / 64)
    empty = cure(drawn(mlp(64, 64, 64, 10), nn.init.zeros_), "reinitialise")
    assert all(p.any() for name, p in empty.named_parameters() if "weight" in name)


def test_frozen_recurrent_and_computed_weights_stay(cure, x):
    net = mlp(64, 64, 64, 10)
    net[0].requires_grad_(False)
    assert kept(net, ["0.weight", "0.bias"], lambda: cure(net, "reinitialise"))

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent, self.head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 10)
            nn.utils.parametrizations.weight_norm(self.head)

        def forward(self, x):
            return self.head(self.recurrent(x.view(len(x), 8, 8))[0][:, -1])

    both = Both()
    before = [p.detach().clone() for p in both.parameters()]
    with pytest.raises(NotApplicable, match="no linear layer or convolution"):
        cure(both, "reinitialise")
    assert all(map(torch.equal, both.parameters(), before))


def test_mode_gradients_and_generators_of_the_trace_are_given_back(cure, x):
    net = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Dropout(), nn.ReLU())
    net.append(nn.Linear(64, 10))
    running = net[1].running_mean.clone()
    cure(net.eval(), "reinitialise")
    assert not any(m.training for m in net.modules())
    assert torch.equal(net[1].running_mean, running)
    assert all(p.grad is None for p in net.parameters())


# -- LSUV ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("convolutional", [False, True])
def test_lsuv_gives_unit_variance_in_every_layer(cure, x, kind, convolutional):
    """1 +- 0.1 on the batch: claims D5."""
    net, inputs = mlp(64, *[64] * 8, 10, activation=kind), x
    if convolutional:
        net, inputs = PlainConv(6, activation=kind()), x.view(-1, 1, 8, 8)
    cure(net, "data_driven_init", inputs=inputs)
    variances = []
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(lambda *_: variances.append(float(_[2].detach().var())))
    net(inputs)
    assert variances == pytest.approx([1.0] * len(variances), abs=0.1)


def test_lsuv_leaves_alone_what_reinitialise_does(cure, x):
    net = Residual(4, last=0.0)
    ends = [f"down.{n}.weight" for n in range(4)]
    assert kept(net, ends, lambda: cure(net, "data_driven_init"))


def test_errors_say_what_there_is(cure):
    with pytest.raises(ValueError, match="no scheme is called 'he'; there are kaiming, "):
        cure(mlp(64, 10), "reinitialise", scheme="he")
    with pytest.raises(ValueError, match="reinitialise has no argument 'gain'; it takes scheme"):
        cure(mlp(64, 10), "reinitialise", gain=2)
    with pytest.raises(ValueError, match="did you mean reinitialise"):
        cure(mlp(64, 10), "reinitialize")
