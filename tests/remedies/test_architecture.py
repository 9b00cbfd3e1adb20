"""Inserted norms and changed activations: shapes, modes and parameters survive, nothing doubles.

A remedy that lost a parameter's identity would train a copy that the optimiser does not know.
"""

import pytest
import torch
from torch import nn

from sounding.result import NotApplicable
from sounding.zoo.nets import Plain, PlainConv, mlp, resnet
from sounding.zoo.sequences import VisionTransformer


def kinds(net, kind):
    return sum(isinstance(m, kind) for m in net.modules())


@pytest.mark.parametrize(("kind", "norm"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_a_norm_behind_every_layer_that_an_activation_follows(cure, x, kind, norm):
    net = mlp(64, 32, 48, 10)
    before = list(net.parameters())
    cure(net, "insert_norm", kind=kind)
    assert kinds(net, norm) == 2  # not behind the last layer
    assert net(x).shape == (64, 10)
    after = {id(p) for p in net.parameters()}
    assert {id(p) for p in before} <= after  # the old ones are the same objects
    assert len(after) == len(before) + 4


@pytest.mark.parametrize(
    ("kind", "norm"),
    [
        ("batch", nn.BatchNorm2d),
        ("instance", nn.InstanceNorm2d),
        ("group", nn.GroupNorm),
        ("layer", nn.GroupNorm),
    ],
)
def test_convolutions_with_functional_activations(cure, x, kind, norm):
    net, images = PlainConv(3), x.view(-1, 1, 8, 8)
    cure(net, "insert_norm", inputs=images, kind=kind)
    assert kinds(net, norm) == 3
    assert net(images).shape == (64, 10)


def test_norms_are_not_doubled(cure, x):
    net = mlp(64, 32, 32, 10)
    cure(net, "insert_norm")
    with pytest.raises(NotApplicable, match="without a normalisation between"):
        cure(net, "insert_norm")
    with pytest.raises(NotApplicable):
        cure(resnet(), "insert_norm", inputs=x.view(-1, 1, 8, 8))


def test_mode_and_type_are_kept(cure, x):
    net = mlp(64, 32, 10).double().eval()
    cure(net, "insert_norm", inputs=x.double())
    assert not any(m.training for m in net.modules())
    assert {p.dtype for p in net.parameters()} == {torch.float64}


def test_a_norm_that_does_not_fit_changes_nothing(cure, x):
    images = x.view(-1, 1, 8, 8)
    net = VisionTransformer(1)
    before = str(net)
    with pytest.raises(NotApplicable, match="no batch normalisation fits blocks"):
        cure(net, "insert_norm", inputs=images)
    assert str(net) == before
    cure(net, "insert_norm", inputs=images, kind="layer")
    assert net(images).shape == (64, 10)
    with pytest.raises(NotApplicable, match="no instance normalisation fits 0"):
        cure(mlp(64, 32, 10), "insert_norm", kind="instance")


@pytest.mark.parametrize(("to", "kind"), [("relu", nn.ReLU), ("leaky_relu", nn.LeakyReLU)])
def test_hidden_activations_change_and_the_weights_with_them(cure, to, kind):
    net = nn.Sequential(*mlp(64, 256, 256, 10, activation=nn.Sigmoid), nn.Sigmoid())
    cure(net, "change_activation", to=to)
    assert kinds(net, kind) == 2
    assert isinstance(net[5], nn.Sigmoid)  # an output's range is meant
    slope = 0.1 if to == "leaky_relu" else 0.0
    variance = float(net[2].weight.detach().square().mean())
    assert variance == pytest.approx(2 / (1 + slope**2) / 256, rel=0.03)


def test_functional_activations_need_a_change_of_the_code(cure):
    net = Plain(64, 32, 32, 10, activation=torch.sigmoid)
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(NotApplicable, match="functional calls; change them in the code"):
        cure(net, "change_activation", to="relu")
    assert all(map(torch.equal, net.parameters(), before))


def test_errors_say_what_there_is(cure):
    with pytest.raises(ValueError, match="no normalisation is called 'spectral'; there are batch"):
        cure(mlp(64, 10), "insert_norm", kind="spectral")
    with pytest.raises(ValueError, match="no activation is called 'swish'; there are relu"):
        cure(mlp(64, 10), "change_activation", to="swish")


# -- between and behind the layers -----------------------------------------------------------------


def test_a_linear_stack_gets_activations_between(cure, x):
    net = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 16), nn.Linear(16, 10))
    before = [p.detach().clone() for p in net.parameters()]
    cure(net, "add_activations", kind="tanh")
    assert kinds(net, nn.Tanh) == 2
    first, second, last = (m for m in net.modules() if isinstance(m, nn.Linear))
    assert isinstance(net[2], nn.Linear)
    torch.testing.assert_close(net(x), last(torch.tanh(second(torch.tanh(first(x))))))
    assert all(map(torch.equal, net.parameters(), before))


def test_activations_go_behind_norms(cure, x):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2)
    )
    cure(net, "add_activations", inputs=x.view(-1, 1, 8, 8))
    assert isinstance(net[1], nn.Sequential)
    assert isinstance(net[1][1], nn.ReLU)
    assert isinstance(net[2], nn.Sequential)
    assert kinds(net, nn.ReLU) == 2


def test_nothing_is_added_where_something_is(cure, x):
    for net, inputs in (
        (mlp(64, 32, 32, 10), x),
        (Plain(64, 32, 32, 10), x),
        (resnet(), x.view(-1, 1, 8, 8)),
        (VisionTransformer(1), x.view(-1, 1, 8, 8)),
        (nn.Sequential(nn.Linear(64, 10)), x),
    ):
        before = str(net)
        with pytest.raises(NotApplicable, match="no layer follows another"):
            cure(net, "add_activations", inputs=inputs)
        assert str(net) == before


@pytest.mark.parametrize(
    "last", [nn.Softmax(1), nn.Sigmoid(), nn.ReLU(), nn.Tanh(), nn.Softplus(), nn.ReLU6()]
)
def test_output_activations_become_identities(cure, x, last):
    net = nn.Sequential(*mlp(64, 32, 10), last)
    scores = net[:-1](x)
    cure(net, "remove_output_activation")
    torch.testing.assert_close(net(x), scores)
    assert kinds(net, nn.ReLU) == 1  # the one between stays


def test_output_activations_that_stay(cure):
    for net in (
        mlp(64, 32, 10),
        nn.Sequential(*mlp(64, 32, 10), nn.LogSoftmax(1)),
        Plain(64, 32, 10, activation=torch.sigmoid),
    ):
        with pytest.raises(NotApplicable, match="no activation module stands behind"):
            cure(net, "remove_output_activation")


def test_dropout_that_drops_is_set(cure):
    net = nn.Sequential(nn.Dropout(0.9), nn.Linear(64, 8), nn.Dropout(0.0))
    cure(net, "set_dropout", p=0.2)
    assert (net[0].p, net[2].p) == (0.2, 0.0)
    inner = nn.LSTM(64, 8, num_layers=2, dropout=0.9)
    cure(inner, "set_dropout", p=0.2)
    assert inner.dropout == 0.2
    with pytest.raises(NotApplicable, match="no dropout module drops anything"):
        cure(mlp(64, 8, 4), "set_dropout")
    with pytest.raises(ValueError, match=r"p is 1.5; a share"):
        cure(net, "set_dropout", p=1.5)
