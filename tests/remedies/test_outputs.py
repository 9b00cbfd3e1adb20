"""The last layer and the embeddings: against best constants, and training on other targets."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.remedies import apply, prescribe, treat
from sounding.result import NotApplicable
from sounding.train import Case, Recipe, seeded
from sounding.zoo.nets import PlainConv, mlp
from sounding.zoo.sequences import LanguageModel, Recurrent


def with_prior(net, loss, batch, **arguments):
    """`net`, whose last bias was set from the targets of a case."""
    case = Case(lambda: net, loss, batch, Recipe(lr=0.1, batch_size=None))
    with seeded(0):
        return apply(prescribe("set_output_bias", **arguments), case).build()


X = torch.randn(400, 16)
RARE = (torch.arange(400) % 40 == 0).long()
CLASSES = torch.arange(400) % 10 % 4


def best_constant(loss, target, shape):
    """By gradient descent through the loss itself."""
    free = torch.zeros(shape, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(free.expand(len(target), *shape[1:]), target)
        value.backward()
        return value

    optimizer.step(closure)
    return free.detach().flatten()


@pytest.mark.parametrize(
    ("loss", "target", "units"),
    [
        (functional.cross_entropy, CLASSES, 4),
        (functional.binary_cross_entropy_with_logits, RARE.float()[:, None], 1),
        (functional.mse_loss, 1e4 + X[:, :3] * 100, 3),
        (lambda output, target: (output - target).square().mean(), 7 + X[:, :1], 1),
    ],
)
def test_the_bias_is_that_of_the_best_constant(loss, target, units):
    net = with_prior(mlp(16, 8, units), loss, (X, target))
    best, bias = best_constant(loss, target, (1, units)), net[2].bias.detach()
    if loss is functional.cross_entropy:  # a common shift changes nothing
        best, bias = best - best.mean(), bias - bias.mean()
    assert bias == pytest.approx(best, rel=0.06, abs=0.02)  # half a sample a class is added


def test_behind_a_link_of_its_own():
    net = with_prior(
        nn.Sequential(*mlp(16, 8, 1), nn.Sigmoid()),
        functional.binary_cross_entropy,
        (X, RARE.float()[:, None]),
    )
    assert float(net[2].bias.detach()) == pytest.approx(math.log(10.5 / 390.5))
    net = with_prior(
        nn.Sequential(*mlp(16, 8, 4), nn.LogSoftmax(1)), functional.nll_loss, (X, CLASSES)
    )
    shares = (torch.bincount(CLASSES) + 0.5) / 402
    torch.testing.assert_close(net[2].bias.detach(), shares.log())


def test_many_batches_are_counted():
    batches = [(X[i : i + 20], RARE[i : i + 20].float()[:, None]) for i in range(0, 400, 20)]
    net = with_prior(
        mlp(16, 8, 1), functional.binary_cross_entropy_with_logits, batches, batches=20
    )
    assert float(net[2].bias.detach()) == pytest.approx(math.log(10.5 / 390.5))


def test_maps_of_labels_have_a_bias_a_channel():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    labels = (torch.arange(64) % 8 % 3).view(1, 8, 8).expand(5, 8, 8)
    with_prior(net, functional.cross_entropy, (torch.randn(5, 1, 8, 8), labels))
    shares = (torch.bincount(labels.flatten()) + 0.5) / (320 + 1.5)
    torch.testing.assert_close(net[2].bias.detach(), shares.log())


def test_where_no_bias_can_be_set(cure):
    with pytest.raises(NotApplicable, match="the loss and its targets are not seen"):
        cure(mlp(64, 8, 4), "set_output_bias")
    plain = nn.Sequential(nn.Linear(16, 4, bias=False))
    with pytest.raises(NotApplicable, match="no layer with a bias"):
        with_prior(plain, functional.cross_entropy, (X, CLASSES))
    with pytest.raises(NotApplicable, match="best constant under poisson_nll_loss"):
        with_prior(mlp(16, 8, 1), functional.poisson_nll_loss, (X, X[:, :1].exp()))
    net = nn.Sequential(*mlp(16, 8, 4), nn.Softmax(1))
    one_hot = functional.one_hot(CLASSES, 4).float()
    with pytest.raises(NotApplicable, match="is not given what a sigmoid puts out"):
        with_prior(net, functional.binary_cross_entropy, (X, one_hot))
    with pytest.raises(ValueError, match="batches is 0"):
        cure(mlp(64, 8, 4), "set_output_bias", batches=0)


# -- scales ----------------------------------------------------------------------------------------


def test_the_last_layer_alone_is_scaled(cure, x):
    net = mlp(64, 32, 10)
    hidden, before = net[0].weight.detach().clone(), net(x)
    cure(net, "scale_last_layer", factor=0.25)
    torch.testing.assert_close(net(x), before / 4)
    assert torch.equal(net[0].weight, hidden)
    with pytest.raises(ValueError, match="factor is 0"):
        cure(net, "scale_last_layer", factor=0)


def test_a_shared_last_layer_is_not_scaled(cure):
    tokens = torch.randint(0, 32, (4, 7))
    with pytest.raises(NotApplicable, match="a table of embeddings too"):
        cure(LanguageModel(1, tied=True), "scale_last_layer", inputs=tokens)


@pytest.mark.parametrize("tied", [True, False])
def test_scaled_tables_have_the_deviation(cure, tied):
    tokens = torch.randint(0, 32, (4, 7))
    net = LanguageModel(1, tied=tied)
    nn.init.normal_(net.table.weight)
    direction = functional.normalize(net.table.weight.detach())
    cure(net, "scale_embeddings", inputs=tokens, std=0.02)
    assert float(net.table.weight.detach().std()) == pytest.approx(0.02)
    assert float(net.places.weight.detach().std()) == pytest.approx(0.02)
    torch.testing.assert_close(functional.normalize(net.table.weight.detach()), direction)


def test_rows_of_padding_do_not_count(cure):
    net = nn.Sequential(nn.Embedding(20, 8, padding_idx=0), nn.Flatten(), nn.Linear(24, 1))
    cure(net, "scale_embeddings", inputs=torch.randint(0, 20, (4, 3)), std=0.1)
    assert float(net[0].weight.detach()[1:].std()) == pytest.approx(0.1)
    assert not net[0].weight[0].any()
    with pytest.raises(NotApplicable, match="no table of embeddings"):
        cure(mlp(64, 8, 4), "scale_embeddings")
    with pytest.raises(ValueError, match="std is 0"):
        cure(net, "scale_embeddings", std=0.0)


def test_scaled_output(cure, x):
    net = mlp(64, 32, 10)
    before = net(x)
    weights = [p.detach().clone() for p in net.parameters()]
    cure(net, "scale_output", mean=3.0, std=0.5)
    torch.testing.assert_close(net(x), 3 + before / 2)
    assert all(map(torch.equal, net.parameters(), weights))
    assert {"2.output_mean", "2.output_deviation"} <= set(net.state_dict())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_standardised_targets_train_as_if_the_targets_were(momentum):
    x, target = torch.randn(64, 4), 5000 + 300 * torch.randn(64, 1)
    curves = []
    for treated in (True, False):
        torch.manual_seed(0)
        net = mlp(4, 16, 1)
        goal = target if treated else (target - 5000) / 300
        if treated:
            remedy = prescribe("standardise_targets", mean=5000.0, std=300.0)
            treat(remedy, net, lambda net=net: net(x))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=momentum)
        losses = []
        for _ in range(30):
            optimizer.zero_grad()
            loss = (net(x) - goal).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()) / (300**2 if treated else 1))
        curves.append(losses)
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    assert curves[0][-1] < 0.9 * curves[0][0]


@pytest.mark.parametrize("name", ["scale_output", "standardise_targets"])
def test_an_output_that_goes_through_more_is_left_alone(cure, name):
    with pytest.raises(NotApplicable, match="the last layer's output goes through 3"):
        cure(nn.Sequential(*mlp(64, 8, 4), nn.Sigmoid()), name)
    with pytest.raises(ValueError, match="std is 0"):
        cure(mlp(64, 8, 4), name, std=0.0)
    with pytest.raises(ValueError, match="mean is inf"):
        cure(mlp(64, 8, 4), name, mean=float("inf"))


def test_the_last_layer_of_other_nets(cure):
    cure(PlainConv(2), "scale_last_layer", inputs=torch.randn(4, 1, 8, 8))
    cure(Recurrent(nn.LSTM), "scale_last_layer", inputs=torch.randn(4, 6, 8))
