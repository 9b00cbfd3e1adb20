"""Fisher matrices and the covariance of gradients against explicit gradients, in float64.

The tests of the Gauss-Newton matrix would not see that targets are drawn from another distribution
than the model's, that draws depend on how the data are cut, that a factor of N is lost between the
mean and the sum, or that the samples of a loss that mixes them are taken apart.
"""

import functools
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from sounding.curvature.fisher import empirical_fisher, fisher, gradient_covariance
from sounding.curvature.gauss_newton import gauss_newton
from sounding.curvature.predictive import uniform
from sounding.objective import Objective

EXACT = {"rtol": 1e-9, "atol": 1e-12}
N, FEATURES, CLASSES = 7, 3, 4
ALL = (fisher, empirical_fisher, gradient_covariance)


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def mlp(outputs=CLASSES):
    return nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, outputs))


def data(classes=CLASSES):
    return torch.randn(N, FEATURES), torch.arange(N) % classes


class Sequences(nn.Module):
    """(B, T) tokens -> (B, C, T), each token looking at the one before."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(6, 3), nn.Linear(6, CLASSES)

    def forward(self, tokens):
        h = torch.tanh(self.embedding(tokens))
        return self.head(torch.cat([h, h.roll(1, dims=1)], dim=2)).transpose(1, 2)


def sequences(count=3):
    return torch.randint(0, 6, (count, 5)), torch.randint(0, CLASSES, (count, 5))


def gradients(model, loss, x, y):
    """(N, n) each sample's gradient, as a batch of one."""
    values = {n: p.detach() for n, p in model.named_parameters()}

    def one(values, x, y):
        return loss(functional_call(model, values, (x[None],)), y[None])

    found = vmap(grad(one), in_dims=(None, 0, 0))(values, x, y)
    return torch.cat([found[n].flatten(1) for n in values], dim=1)


# -- the samples' own gradients -----------------------------------------------------------------

LOSSES = {
    "cross_entropy": (F.cross_entropy, lambda: torch.arange(N) % CLASSES),
    "mse_loss": (F.mse_loss, lambda: torch.randn(N, CLASSES)),
    "huber_loss": (F.huber_loss, lambda: torch.randn(N, CLASSES)),
    "cubes": (lambda z, y: (z - y).pow(3).mean(), lambda: torch.randn(N, CLASSES)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_empirical_fisher_and_the_covariance_are_those_of_explicit_gradients(name):
    loss, targets = LOSSES[name]
    net, x, y = mlp(), torch.randn(N, FEATURES), targets()
    g = gradients(net, loss, x, y)
    found = empirical_fisher(net, loss, (x, y))
    torch.testing.assert_close(found.to_dense(), g.T @ g / N, **EXACT)
    found = gradient_covariance(net, loss, (x, y))
    torch.testing.assert_close(found.to_dense(), g.T.cov(correction=0), **EXACT)


def test_a_sequence_is_one_sample():
    net, (x, y) = Sequences(), sequences(4)
    g = gradients(net, F.cross_entropy, x, y)
    found = empirical_fisher(net, F.cross_entropy, (x, y)).to_dense()
    torch.testing.assert_close(found, g.T @ g / 4, **EXACT)
    found = gradient_covariance(net, F.cross_entropy, (x, y), micro_batch=3).to_dense()
    torch.testing.assert_close(found, g.T.cov(correction=0), **EXACT)


def test_under_a_sum_both_are_n_times_as_large():
    net, (x, y) = mlp(), data()
    g = gradients(net, F.cross_entropy, x, y)
    summed = {"loss": nn.CrossEntropyLoss(reduction="sum"), "reduction": "sum", "micro_batch": 3}
    found = empirical_fisher(net, batches=(x, y), **summed).to_dense()
    torch.testing.assert_close(found, g.T @ g, **EXACT)
    found = gradient_covariance(net, batches=(x, y), **summed).to_dense()
    torch.testing.assert_close(found, N * g.T.cov(correction=0), **EXACT)


@pytest.mark.parametrize("matrix", ALL)
def test_micro_batches_and_unequal_batches_make_the_same_matrix(matrix):
    net, (x, y) = mlp(), data()
    whole = matrix(net, F.cross_entropy, (x, y)).to_dense()
    cut = matrix(net, F.cross_entropy, (x, y), micro_batch=2).to_dense()
    torch.testing.assert_close(cut, whole, **EXACT)
    several = [(x[:2], y[:2]), (x[2:], y[2:])]
    torch.testing.assert_close(matrix(net, F.cross_entropy, several).to_dense(), whole, **EXACT)
    rebuilt = matrix(net, F.cross_entropy, several, method="double").to_dense()
    torch.testing.assert_close(rebuilt, whole, **EXACT)


def test_the_covariance_has_rank_n_minus_one_and_no_negative_eigenvalue():
    net, (x, y) = mlp(), data()
    values = torch.linalg.eigvalsh(gradient_covariance(net, F.cross_entropy, (x, y)).to_dense())
    assert values.min() > -1e-14 * values.max()
    assert (values > 1e-12 * values.max()).sum() == N - 1
    other = torch.linalg.eigvalsh(empirical_fisher(net, F.cross_entropy, (x, y)).to_dense())
    assert (other > 1e-12 * other.max()).sum() == N


def test_padding_counts_for_nothing_and_the_mean_of_the_gradients_is_the_losss():
    net, (x, y) = Sequences(), sequences(4)
    y[0, 2:] = y[1] = -100
    found = empirical_fisher(net, F.cross_entropy, (x, y)).to_dense()
    counted = (y != -100).sum()
    summed = functools.partial(F.cross_entropy, reduction="sum")
    g = 4 * gradients(net, summed, x, y) / counted
    torch.testing.assert_close(found, g.T @ g / 4, **EXACT)
    (whole,) = torch.autograd.grad(F.cross_entropy(net(x), y), net.head.bias)
    torch.testing.assert_close(g.mean(0)[-CLASSES:], whole, **EXACT)


def test_parameters_choose_a_block():
    net, (x, y) = mlp(), data()
    for matrix in ALL:
        block = matrix(net, F.cross_entropy, (x, y), parameters="2").to_dense()
        whole = matrix(net, F.cross_entropy, (x, y)).to_dense()
        torch.testing.assert_close(block, whole[20:, 20:], **EXACT)


def test_hooks_on_gradients_do_not_move_the_mean():
    net, (x, y) = mlp(), data()
    g = gradients(net, F.cross_entropy, x, y)
    net[0].weight.register_hook(lambda gradient: 2 * gradient)
    found = gradient_covariance(net, F.cross_entropy, (x, y)).to_dense()
    torch.testing.assert_close(found, g.T.cov(correction=0), **EXACT)


# -- draws from the model's own predictions -----------------------------------------------------


def test_one_draw_is_the_outer_product_of_a_class_and_classes_come_as_often_as_predicted():
    net, x = mlp(), torch.randn(1, FEATURES)
    each = [gradients(net, F.cross_entropy, x, torch.tensor([c]))[0] for c in range(CLASSES)]
    traces = torch.stack([g @ g for g in each])  # all different
    counts, draws = torch.zeros(CLASSES), 150
    for seed in range(draws):
        batch = (x, torch.tensor([0]))
        found = fisher(net, F.cross_entropy, batch, seed=seed, check=False)
        v = each[0]
        along = float(v @ (found @ v))
        (which,) = [c for c in range(CLASSES) if math.isclose(along, float(v @ each[c]) ** 2)]
        counts[which] += 1
        if seed < 3:
            g = each[which]
            torch.testing.assert_close(found.to_dense(), torch.outer(g, g), **EXACT)
    assert len(set(traces.tolist())) == CLASSES
    expected = draws * net(x).detach().softmax(1)[0]
    # Chi square with 3 degrees of freedom; above 16.3 once in a thousand seeds.
    assert ((counts - expected) ** 2 / expected).sum() < 16.3


def likelihoods():
    classes, tokens = data(), sequences()
    padded = tokens[1].clone()
    padded[0, 3:] = -100
    numbers = torch.randn(N, FEATURES), torch.rand(N, CLASSES)
    summed = functools.partial(F.mse_loss, reduction="sum")
    return {
        "cross_entropy": (mlp(), F.cross_entropy, classes),
        "soft targets": (mlp(), F.cross_entropy, (classes[0], torch.rand(N, CLASSES).softmax(1))),
        "sequences": (Sequences(), nn.CrossEntropyLoss(), (tokens[0], padded)),
        "mse_loss": (mlp(), nn.MSELoss(), numbers),
        "sum of squares": (mlp(), summed, numbers),
        "bits": (mlp(), F.binary_cross_entropy_with_logits, numbers),
    }


@pytest.mark.parametrize("name", likelihoods())
def test_the_mean_over_draws_is_the_gauss_newton_matrix(name):
    net, loss, batch = likelihoods()[name]
    reduction = "sum" if name == "sum of squares" else "mean"
    g = gauss_newton(net, loss, batch, reduction=reduction)
    v = torch.randn(3, g.size)
    expected = torch.einsum("kn,nk->k", v, g @ v.T)
    rows = []
    for seed in range(40):
        f = fisher(net, loss, batch, samples=8, seed=seed, check=False, reduction=reduction)
        rows.append(torch.einsum("kn,nk->k", v, f @ v.T))
    rows = torch.stack(rows)
    error = rows.std(0) / math.sqrt(len(rows))
    # |t| with 39 degrees of freedom: above 4 for one of three once in 1200 seeds.
    assert ((rows.mean(0) - expected).abs() < 4 * error).all()
    assert (error < 0.05 * expected).all()  # so a factor of 1.2 would show


def test_ignored_predictions_are_as_if_they_were_not_there():
    net, (x, y) = Sequences(), sequences(3)
    y[2] = -100
    found = fisher(net, F.cross_entropy, (x, y)).to_dense()
    expected = fisher(net, F.cross_entropy, (x[:2], y[:2])).to_dense()
    torch.testing.assert_close(found, expected, **EXACT)
    other = functools.partial(F.cross_entropy, ignore_index=5)
    found = fisher(net, other, (x, y.where(y >= 0, 5))).to_dense()
    torch.testing.assert_close(found, expected, **EXACT)


def test_more_draws_come_nearer():
    net, batch = mlp(), data()
    g = gauss_newton(net, F.cross_entropy, batch).to_dense()
    few, many = (
        (fisher(net, F.cross_entropy, batch, samples=s).to_dense() - g).norm() / g.norm()
        for s in (10, 10_000)
    )
    assert many < 0.03  # the error falls by 1 / sqrt(1000)
    assert many < few / 5


def test_log_softmax_inside_the_model_or_in_the_loss_makes_no_difference():
    inner, (x, y) = mlp(), data()
    net = nn.Sequential(inner, nn.LogSoftmax(1))
    found = fisher(net, F.nll_loss, (x, y), samples=3).to_dense()
    expected = fisher(inner, F.cross_entropy, (x, y), samples=3).to_dense()
    torch.testing.assert_close(found, expected, **EXACT)


def test_it_has_no_negative_eigenvalue_and_the_rank_of_its_draws():
    values = torch.linalg.eigvalsh(fisher(mlp(), F.cross_entropy, data(), samples=2).to_dense())
    assert values.min() > -1e-13 * values.max()
    assert 2 <= (values > 1e-12 * values.max()).sum() <= 2 * N


def test_the_seed_fixes_the_draws_and_targets_do_not_matter():
    net, (x, y) = mlp(), data()
    first, again, other = (
        fisher(net, F.cross_entropy, (x, target), seed=seed).to_dense()
        for seed, target in ((1, y), (1, y.flip(0)), (2, y))
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert (first - other).norm() > 0.01 * first.norm()


def test_a_network_without_a_batch_dimension():
    net, x = nn.Linear(FEATURES, CLASSES), torch.randn(FEATURES)
    found = fisher(net, F.cross_entropy, [(x, torch.tensor(1))], samples=20_000).to_dense()
    expected = gauss_newton(net, F.cross_entropy, [(x, torch.tensor(1))]).to_dense()
    assert (found - expected).norm() < 0.03 * expected.norm()


def test_uniform_numbers_depend_on_the_row_not_on_the_cut():
    whole = uniform(slice(0, 100), 7, seed=5)
    parts = [uniform(slice(0, 31), 7, seed=5), uniform(slice(31, 100), 7, seed=5)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, uniform(slice(0, 100), 7, seed=6))
    many = uniform(slice(0, 20_000), 5, seed=-1)
    assert len(many.unique()) == many.numel()
    # 100 000 draws: mean and variance are off by 4 standard errors once in 8000 seeds
    assert abs(many.mean() - 1 / 2) < 4 * math.sqrt(1 / 12 / 1e5)
    assert abs(many.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / 1e5)
    neighbours = torch.corrcoef(torch.stack([many[:-1, 0], many[1:, 0]]))[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(20_000)


# -- what is refused ----------------------------------------------------------------------------


def contrast(output, target):
    likeness = F.normalize(output, dim=1) @ F.normalize(output, dim=1).T
    return F.cross_entropy(likeness, torch.arange(len(output)))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


@pytest.mark.parametrize("matrix", [empirical_fisher, gradient_covariance])
def test_a_loss_with_a_wrong_gradient_is_refused(matrix):
    with pytest.raises(ValueError, match="gradient by the output is not that of the loss"):
        matrix(mlp(), lambda z, y: F.cross_entropy(Doubled.apply(z), y), data())


@pytest.mark.parametrize("matrix", [empirical_fisher, gradient_covariance])
def test_samples_that_cannot_be_told_apart_are_refused(matrix):
    net, (x, y) = mlp(), data()
    with pytest.raises(ValueError, match="mixes the samples"):
        matrix(net, contrast, (x, y))
    with pytest.raises(ValueError, match="sum over the samples; pass reduction='sum'"):
        matrix(net, nn.CrossEntropyLoss(reduction="sum"), (x, y))
    with pytest.raises(ValueError, match="mean over the samples; pass reduction='mean'"):
        matrix(net, nn.CrossEntropyLoss(), (x, y), reduction="sum")
    flat = nn.Sequential(mlp(8), nn.Unflatten(1, (2, 4)), nn.Flatten(0, 1))
    with pytest.raises(ValueError, match=f"{2 * N} entries .* {N} samples"):
        matrix(flat, lambda z, y: F.cross_entropy(z, y.repeat(2)), (x, y), check=False)


def test_class_weights_are_no_mixing():
    net, (x, y) = mlp(), data()
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = empirical_fisher(net, nn.CrossEntropyLoss(weight=weights), (x, y)).to_dense()
    g = gradients(net, F.cross_entropy, x, y) * (N * weights[y] / weights[y].sum())[:, None]
    torch.testing.assert_close(found, g.T @ g / N, **EXACT)


def test_what_could_not_be_checked_or_needs_care_is_noted():
    net, (x, y) = mlp(), data()
    own = torch.rand(3, 1)

    def three_at_a_time(output, target):
        return (own * output.gather(1, target[:, None]).square()).mean()

    found = empirical_fisher(net, three_at_a_time, (x[:3], y[:3]))
    assert any("could not be tried" in note for note in found.notes)
    g = own * gradients(net, lambda z, y: z.gather(1, y[:, None]).square().mean(), x[:3], y[:3])
    torch.testing.assert_close(found.to_dense(), g.T @ g / 3, **EXACT)
    normed = nn.Sequential(nn.Linear(FEATURES, 5), nn.BatchNorm1d(5), nn.Linear(5, CLASSES))
    found = empirical_fisher(normed, F.cross_entropy, (x, y))
    assert any("batch norm" in note for note in found.notes)
    assert not empirical_fisher(normed.eval(), F.cross_entropy, (x, y)).notes


def test_losses_without_a_known_distribution_are_refused():
    net, (x, y) = mlp(), data()
    z = torch.randn(N, CLASSES)
    known = "binary_cross_entropy_with_logits, cross_entropy, mse_loss, nll_loss"
    for loss in (F.huber_loss, nn.L1Loss(), lambda z, y: F.mse_loss(z, y)):
        with pytest.raises(ValueError, match=known):
            fisher(net, loss, (x, z))
    with pytest.raises(ValueError, match="label_smoothing"):
        fisher(net, nn.CrossEntropyLoss(label_smoothing=0.1), (x, y))
    with pytest.raises(ValueError, match="with weight"):
        fisher(net, nn.CrossEntropyLoss(weight=torch.ones(CLASSES)), (x, y))
    with pytest.raises(ValueError, match="with pos_weight"):
        fisher(net, nn.BCEWithLogitsLoss(pos_weight=torch.ones(CLASSES)), (x, z.sigmoid()))


def test_bad_input_of_fisher_is_explained():
    net, (x, y) = mlp(), data()
    refused = functools.partial(pytest.raises, ValueError)
    with refused(match="samples is 0"):
        fisher(net, F.cross_entropy, (x, y), samples=0)
    with refused(match="make them the same"):
        fisher(net, F.cross_entropy, (x, y), reduction="sum")
    with refused(match="end the model with log_softmax"):
        fisher(net, F.nll_loss, (x, y))
    with pytest.warns(UserWarning, match="target size"), refused(match="the same shape"):
        fisher(mlp(1), F.mse_loss, (x, torch.randn(N, 3)))
    with refused(match="missing in the target"):  # torch takes it, for class probabilities
        fisher(net, F.nll_loss, [(x[0], y[:1])])
    for matrix in ALL:
        with refused(match=matrix.__name__):
            matrix(net, Objective(lambda model, batch: model(batch[0]).sum()), (x, y))
