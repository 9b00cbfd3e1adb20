"""The Gauss-Newton matrix against closed forms and dense Jacobians, all in float64.

The tests of the Hessian would not see that J v goes wrong where J'u is right, that the loss's own
curvature is left out or taken twice, or that a model with a wrong backward pass is accepted.
"""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional as F

from sounding.curvature.gauss_newton import gauss_newton
from sounding.objective import Objective

EXACT = {"rtol": 1e-9, "atol": 1e-12}
N, FEATURES, CLASSES = 7, 3, 4


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
    """(B, T) tokens -> (B, C, T), attention between the tokens."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 5, 0.0, batch_first=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, tokens):
        return self.head(self.layer(self.embedding(tokens))).transpose(1, 2)


def sequences():
    return torch.randint(0, 6, (3, 5)), torch.randint(0, CLASSES, (3, 5))


# -- oracles ------------------------------------------------------------------------------------


def jacobian(model, x, names=None):
    """(m, n) by reverse mode over one output after the other."""
    every = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    chosen = {n: p for n, p in every.items() if names is None or n in names}
    rows = jacrev(lambda values: functional_call(model, values, (x,)).reshape(-1), chunk_size=1)(
        chosen
    )
    return torch.cat([rows[n].flatten(1) for n in chosen], dim=1)


def by_hand(model, loss, x, y, names=None):
    """J'H J from dense matrices."""
    z = model(x).detach()
    h = jacrev(jacrev(lambda flat: loss(flat.view_as(z), y)))(z.reshape(-1))
    j = jacobian(model, x, names)
    return j.T @ h @ j


def full_hessian(model, loss, x, y):
    every = {n: p.detach() for n, p in model.named_parameters()}
    names, shapes = list(every), [p.shape for p in every.values()]
    flat = torch.cat([p.reshape(-1) for p in every.values()])

    def value(flat):
        parts = flat.split([s.numel() for s in shapes])
        values = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return loss(functional_call(model, values, (x,)), y)

    return jacrev(jacrev(value))(flat)


# -- closed forms -------------------------------------------------------------------------------


def test_linear_regression_is_twice_the_covariance_of_the_inputs():
    net, x, y = nn.Linear(FEATURES, 2, bias=False), torch.randn(N, FEATURES), torch.randn(N, 2)
    found = gauss_newton(net, F.mse_loss, (x, y)).to_dense()
    expected = torch.kron(torch.eye(2), 2 / (2 * N) * x.T @ x)  # the mean is over N * 2 numbers
    torch.testing.assert_close(found, expected, **EXACT)


def test_logistic_regression_weighs_each_sample_by_its_variance():
    net, x, y = nn.Linear(FEATURES, 1), torch.randn(N, FEATURES), torch.rand(N, 1).round()
    found = gauss_newton(net, F.binary_cross_entropy_with_logits, (x, y)).to_dense()
    p, x1 = net(x).detach().sigmoid(), torch.cat([x, torch.ones(N, 1)], dim=1)
    torch.testing.assert_close(found, x1.T @ (p * (1 - p) * x1) / N, **EXACT)


def test_softmax_regression_has_the_multinomial_covariance_in_the_middle():
    net, (x, y) = nn.Linear(FEATURES, CLASSES, bias=False), data()
    found = gauss_newton(net, F.cross_entropy, (x, y)).to_dense()
    p = net(x).detach().softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("nab,ni,nj->aibj", middle, x, x).reshape(found.shape) / N
    torch.testing.assert_close(found, expected, **EXACT)


def test_it_is_the_hessian_of_a_linear_model_and_of_no_other():
    x, y = data()
    linear, net = nn.Linear(FEATURES, CLASSES), mlp()
    equal = gauss_newton(linear, F.cross_entropy, (x, y)).to_dense()
    torch.testing.assert_close(equal, full_hessian(linear, F.cross_entropy, x, y), **EXACT)
    found = gauss_newton(net, F.cross_entropy, (x, y)).to_dense()
    other = full_hessian(net, F.cross_entropy, x, y)
    assert (found - other).norm() > 0.1 * other.norm()


# -- dense Jacobians ----------------------------------------------------------------------------


def cube(output, target):
    """Not convex."""
    return (output - target).pow(3).mean()


@pytest.mark.parametrize("method", [None, "kept", "double", "forward", "difference"])
@pytest.mark.parametrize("loss", [F.mse_loss, F.huber_loss, cube])
def test_every_method_and_loss_agrees_with_dense_matrices(loss, method):
    net, x, y = mlp(), torch.randn(N, FEATURES), torch.randn(N, CLASSES)
    found = gauss_newton(net, loss, (x, y), method=method).to_dense()
    close = {"rtol": 1e-5, "atol": 1e-7} if method == "difference" else EXACT
    torch.testing.assert_close(found, by_hand(net, loss, x, y), **close)


def test_sequences_under_cross_entropy():
    net, (x, y) = Sequences(), sequences()
    found = gauss_newton(net, F.cross_entropy, (x, y))
    torch.testing.assert_close(found.to_dense(), by_hand(net, F.cross_entropy, x, y), **EXACT)
    ignoring = functools.partial(F.cross_entropy, ignore_index=2)
    found = gauss_newton(net, ignoring, (x, y)).to_dense()
    torch.testing.assert_close(found, by_hand(net, ignoring, x, y), **EXACT)


def test_it_has_no_negative_eigenvalue_under_a_convex_loss():
    found = gauss_newton(mlp(), F.cross_entropy, data())
    values = torch.linalg.eigvalsh(found.to_dense())
    assert values.min() > -1e-12 * values.max()
    assert found.notes == ()


def test_tied_weights_count_once_and_frozen_ones_not_at_all():
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    net[2].weight = net[0].weight
    net[4].weight.requires_grad_(False)
    x, y = torch.randn(N, 3), torch.randn(N, 2)
    found = gauss_newton(net, F.mse_loss, (x, y))
    assert found.size == 9 + 3 + 3 + 2
    torch.testing.assert_close(found.to_dense(), by_hand(net, F.mse_loss, x, y), **EXACT)


def test_parameters_choose_a_block():
    net, (x, y) = mlp(), data()
    found = gauss_newton(net, F.cross_entropy, (x, y), parameters="2.*")
    expected = by_hand(net, F.cross_entropy, x, y, names=("2.weight", "2.bias"))
    torch.testing.assert_close(found.to_dense(), expected, **EXACT)
    whole = gauss_newton(net, F.cross_entropy, (x, y)).restricted("2")
    torch.testing.assert_close(whole.to_dense(), expected, **EXACT)


def test_batch_norm_takes_part_as_its_mode_says_and_keeps_its_buffers():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Tanh())
    tracking = nn.Sequential(net[0], nn.BatchNorm1d(4), nn.Tanh())
    tracking[1].load_state_dict(net[1].state_dict(), strict=False)
    x, y = torch.randn(N, 3), torch.randn(N, 4)
    before = {n: b.clone() for n, b in tracking.named_buffers()}
    found = gauss_newton(tracking, F.mse_loss, (x, y))
    torch.testing.assert_close(found.to_dense(), by_hand(net, F.mse_loss, x, y), **EXACT)
    assert all(torch.equal(b, before[n]) for n, b in tracking.named_buffers())
    tracking.eval()
    found = gauss_newton(tracking, F.mse_loss, (x, y)).to_dense()
    torch.testing.assert_close(found, by_hand(tracking, F.mse_loss, x, y), **EXACT)


def test_dropout_is_one_mask_that_the_seed_chooses():
    net = nn.Sequential(mlp(), nn.Dropout(0.5))
    batch = torch.randn(N, FEATURES), torch.randn(N, CLASSES)
    first, again, other = (
        gauss_newton(net, F.mse_loss, batch, seed=seed, check=False).to_dense()
        for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert (first - other).norm() > 0.01 * first.norm()
    torch.manual_seed(1)
    kept = net(batch[0]).detach() != 0
    expected = by_hand(net[0], lambda z, y: F.mse_loss(2 * z * kept, y), *batch)
    torch.testing.assert_close(first, expected, **EXACT)


# -- batches ------------------------------------------------------------------------------------


def test_micro_batches_and_unequal_batches_make_the_same_matrix():
    net, (x, y) = mlp(), data()
    whole = by_hand(net, F.cross_entropy, x, y)
    cut = gauss_newton(net, F.cross_entropy, (x, y), micro_batch=3)
    torch.testing.assert_close(cut.to_dense(), whole, **EXACT)
    several = [(x[:2], y[:2]), (x[2:], y[2:])]
    found = gauss_newton(net, F.cross_entropy, several).to_dense()
    torch.testing.assert_close(found, whole, **EXACT)


def test_a_sum_over_samples_is_n_times_the_mean():
    net, (x, y) = mlp(), data()
    summed = functools.partial(F.cross_entropy, reduction="sum")
    found = gauss_newton(net, summed, (x, y), reduction="sum", micro_batch=2).to_dense()
    torch.testing.assert_close(found, N * by_hand(net, F.cross_entropy, x, y), **EXACT)
    with pytest.raises(ValueError, match="adds up"):
        gauss_newton(net, summed, (x, y), micro_batch=2)


def test_blocks_of_vectors_and_arrays():
    found = gauss_newton(mlp(), F.cross_entropy, data())
    vectors = torch.randn(found.size, 3)
    together = found @ vectors  # the first block is tried both ways
    for _ in range(2):
        torch.testing.assert_close(found @ vectors, together, **EXACT)
    for i in range(3):
        torch.testing.assert_close(found @ vectors[:, i], together[:, i], **EXACT)
        np.testing.assert_allclose(found @ vectors[:, i].numpy(), together[:, i], rtol=1e-9)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_the_models_precision_is_kept(dtype, close):
    net, (x, y) = mlp(), data()
    expected = by_hand(net, F.cross_entropy, x, y)
    net = net.to(dtype)
    expected = by_hand(net.double(), F.cross_entropy, x, y) if dtype == torch.float32 else expected
    found = gauss_newton(net.to(dtype), F.cross_entropy, (x.to(dtype), y)).to_dense()
    assert found.dtype == dtype
    assert (found.double() - expected).norm() < close * expected.norm()


# -- memory -------------------------------------------------------------------------------------


def test_where_graphs_do_not_fit_they_are_built_anew():
    net, batch = mlp(), data()
    kept = gauss_newton(net, F.cross_entropy, batch, micro_batch=3)
    one = gauss_newton(net, F.cross_entropy, batch, micro_batch=3, memory=1000)
    assert "computed anew" in one.method
    assert "kept graph" in one.method
    torch.testing.assert_close(one.to_dense(), kept.to_dense(), **EXACT)


def test_where_one_does_not_fit_the_error_says_what_would():
    net, batch = mlp(), data()
    with pytest.raises(ValueError, match=r"micro_batch=[1-6] would fit") as error:
        gauss_newton(net, F.cross_entropy, batch, memory=800)
    size = int(str(error.value).split("micro_batch=")[1].split()[0])
    gauss_newton(net, F.cross_entropy, batch, memory=800, micro_batch=size)
    enough = float(str(error.value).split("memory=")[1].split()[0])
    gauss_newton(net, F.cross_entropy, batch, memory=enough)


# -- the check ----------------------------------------------------------------------------------


class Scaled(torch.autograd.Function):
    """The identity; the gradient is scaled on the way back."""

    @staticmethod
    def forward(ctx, h, factor):
        ctx.factor = factor
        return h.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * gradient, None


class Biased(nn.Module):
    """A bias whose gradient is a hundredth off."""

    def __init__(self, factor=1.01, size=1.0):
        super().__init__()
        self.bias, self.factor, self.size = nn.Parameter(torch.randn(5)), factor, size

    def forward(self, h):
        return h + self.size * Scaled.apply(self.bias, self.factor)


class Distances(nn.Module):
    """Has no second derivative in torch, so no J v by two backward passes or by forward mode."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(4, 5))

    def forward(self, h):
        return torch.cdist(h, self.centres)


class Detached(nn.Module):
    def forward(self, h):
        return h * h.detach()


def around(middle, width=5):
    return nn.Sequential(nn.Linear(FEATURES, 5), middle, nn.Tanh(), nn.Linear(width, CLASSES))


def test_a_layer_without_a_second_derivative_is_no_hindrance():
    net, (x, y) = around(Distances(), 4), data()
    found = gauss_newton(net, F.cross_entropy, (x, y))
    assert "differences" in found.method
    expected = by_hand(net, F.cross_entropy, x, y)
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("middle", [Biased, Detached])
def test_a_wrong_backward_pass_is_refused_and_named(middle):
    with pytest.raises(ValueError, match=rf"1 \({middle.__name__}\)"):
        gauss_newton(around(middle()), F.cross_entropy, data())


def test_a_wrong_share_is_seen_where_other_parameters_move_the_output_far_more():
    with pytest.raises(ValueError, match="no right derivative of the output"):
        gauss_newton(around(Biased(size=1e-3)), F.cross_entropy, data())


def test_rows_that_a_pass_shortens_are_seen_in_any_sample():
    net = nn.Sequential(nn.Embedding(4, 3, max_norm=1.0), nn.Flatten(), nn.Linear(3, CLASSES))
    with torch.no_grad():
        net[0].weight.mul_(0.1)
        net[0].weight[3] += 5
    x, y = torch.tensor([0, 1, 2, 0, 1, 2, 3])[:, None], data()[1]
    with pytest.raises(ValueError, match=r"0 \(Embedding\) has rows longer"):
        gauss_newton(net, F.cross_entropy, (x, y))
    gauss_newton(net, F.cross_entropy, (x[:-1], y[:-1]))


def test_the_same_layer_with_a_right_backward_pass_is_accepted():
    net, (x, y) = around(Biased(factor=1.0)), data()
    found = gauss_newton(net, F.cross_entropy, (x, y)).to_dense()
    with torch.no_grad():
        net[0].bias += net[1].bias  # the two are the same to the output
    plain = by_hand(nn.Sequential(net[0], nn.Tanh(), net[3]), F.cross_entropy, x, y)
    torch.testing.assert_close(found[15:20, 15:20], plain[15:20, 15:20], **EXACT)
    torch.testing.assert_close(found[20:25, 20:25], plain[15:20, 15:20], **EXACT)


def test_hooks_on_gradients_belong_to_the_training():
    net, (x, y) = mlp(), data()
    expected = by_hand(net, F.cross_entropy, x, y)
    calls = []
    net[0].weight.register_hook(lambda gradient: calls.append(0) or 2 * gradient)
    found = gauss_newton(net, F.cross_entropy, (x, y)).to_dense()
    torch.testing.assert_close(found, expected, **EXACT)
    assert calls == []
    F.cross_entropy(net(x), y).backward()
    assert calls == [0]


def test_on_a_kink_it_is_made_and_says_so():
    net, (x, y) = around(nn.ReLU()), data()
    nn.init.zeros_(net[0].bias)
    x[0] = 0
    found = gauss_newton(net, F.cross_entropy, (x, y))
    assert any("kink" in note for note in found.notes)
    torch.testing.assert_close(found.to_dense(), by_hand(net, F.cross_entropy, x, y), **EXACT)
    wrong = nn.Sequential(net[0], nn.ReLU(), Biased(), nn.Tanh(), net[3])
    with pytest.raises(ValueError, match="Biased"):  # nothing hides behind a kink
        gauss_newton(wrong, F.cross_entropy, (x, y))


class InFloat32(nn.Module):
    """Rounds whatever comes, as norms in language models do."""

    def forward(self, h):
        return h.float().tanh().to(h.dtype)


def test_rounding_inside_hides_nothing_and_hinders_nothing():
    net, (x, y) = around(InFloat32()), data()
    found = gauss_newton(net, F.cross_entropy, (x, y))
    assert found.notes == ()
    expected = by_hand(net, F.cross_entropy, x, y)
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-5, atol=1e-7)
    wrong = nn.Sequential(net[0], InFloat32(), Biased(factor=1.5), nn.Tanh(), net[3])
    with pytest.raises(ValueError, match="no right derivative of the output"):
        gauss_newton(wrong, F.cross_entropy, (x, y))


class Cube(torch.autograd.Function):
    """The first derivative is right; the second is lost without a word."""

    @staticmethod
    def forward(ctx, h):
        ctx.slope = 3 * h**2
        return h**3

    @staticmethod
    def backward(ctx, gradient):
        return ctx.slope * gradient


def test_a_loss_whose_second_derivative_torch_gets_wrong_is_still_right():
    net, (x, y) = mlp(), data()
    found = gauss_newton(net, lambda z, y: Cube.apply(z).mean(), (x, y)).to_dense()
    expected = by_hand(net, lambda z, y: (z**3).mean(), x, y)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_a_loss_with_a_wrong_gradient_is_refused():
    def halved(output, target):
        return F.mse_loss(output, output.detach().roll(1, dims=0))

    def scaled(output, target):
        return F.cross_entropy(Scaled.apply(output, 2.0), target)

    for loss in (halved, scaled):
        with pytest.raises(ValueError, match="not that of the loss"):
            gauss_newton(mlp(), loss, data())


def test_what_the_loss_does_to_the_matrix_is_noted():
    x, y = data()
    net = nn.Sequential(mlp(), nn.LogSoftmax(1))
    found = gauss_newton(net, F.nll_loss, (x, y))
    assert any("linear in the output" in note for note in found.notes)
    assert not found.to_dense().any()
    bent = gauss_newton(mlp(), lambda z, y: -F.cross_entropy(z, y), (x, y))
    assert any("not convex" in note for note in bent.notes)


class DropPath(nn.Module):
    """Draws other numbers in another precision."""

    def forward(self, h):
        return h * (torch.rand(len(h), 1, dtype=h.dtype) < 0.6)


def test_differences_are_taken_of_the_same_draws():
    net, x, y = nn.Sequential(mlp(), DropPath()).float(), *data()
    exact, found = (
        gauss_newton(net, F.cross_entropy, (x.float(), y), seed=3, method=m).to_dense()
        for m in ("kept", "difference")
    )
    assert (found - exact).norm() < 0.02 * exact.norm()  # in single precision, as it says


def test_a_method_that_is_missing_in_the_models_precision_is_refused():
    net = nn.Sequential(nn.LSTM(FEATURES, 2, batch_first=True), Last()).float()
    batch = torch.randn(N, 2, FEATURES).float(), torch.randn(N, 2).float()
    if torch.backends.mkldnn.is_available():  # whose recurrent layers are in single precision only
        with pytest.raises(ValueError, match="forward mode is missing"):
            gauss_newton(net, F.mse_loss, batch, method="forward")
    gauss_newton(net, F.mse_loss, batch)


class Last(nn.Module):
    def forward(self, states):
        return states[0][:, -1]


# -- what is given back, and what is refused ----------------------------------------------------


def test_the_model_and_the_random_state_are_given_back():
    net, (x, y) = nn.Sequential(mlp(), nn.Dropout(0.1)), data()
    F.cross_entropy(net(x), y).backward()
    gradients = [p.grad.clone() for p in net.parameters()]
    state = torch.get_rng_state()
    gauss_newton(net, F.cross_entropy, (x, y)) @ torch.ones(44)
    assert torch.equal(state, torch.get_rng_state())
    for p, gradient in zip(net.parameters(), gradients, strict=True):
        assert torch.equal(p.grad, gradient)
    assert net.training


def test_after_a_step_the_matrix_refuses():
    net = mlp()
    found = gauss_newton(net, F.cross_entropy, data())
    with torch.no_grad():
        net[0].weight.mul_(2)
    with pytest.raises(ValueError, match="have changed"):
        found @ torch.ones(found.size)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = mlp()

    def forward(self, x):
        return self.inner(x), x


class Rounded(Pair):
    def forward(self, x):
        return self.inner(x).argmax(1)


def test_bad_input_is_explained():
    net, (x, y) = mlp(), data()
    refused = functools.partial(pytest.raises, ValueError)
    with refused(match="Objective"):
        gauss_newton(net, Objective(lambda model, batch: model(batch[0]).sum()), (x, y))
    with refused(match="output is a tuple"):
        gauss_newton(Pair(), lambda z, y: F.cross_entropy(z[0], y), (x, y))
    with refused(match="only real numbers"):
        gauss_newton(Rounded(), F.cross_entropy, (x, y))
    with refused(match="method is 'exact'"):
        gauss_newton(net, F.cross_entropy, (x, y), method="exact")
    with refused(match="reduction is 'max'"):
        gauss_newton(net, F.cross_entropy, (x, y), reduction="max")
    with refused(match="no trainable parameter matches"):
        gauss_newton(net, F.cross_entropy, (x, y), parameters="3.*")
    with refused(match="only through the output"):
        decay = lambda z, y: F.cross_entropy(z, y) + net[0].weight.square().sum()  # noqa: E731
        gauss_newton(net, decay, (x, y))
    with refused(match="loss of the first batch is nan"):
        gauss_newton(net, lambda z, y: F.cross_entropy(z, y) * float("nan"), (x, y))
    with pytest.raises(TypeError, match="loss is a str"):
        gauss_newton(net, "mse", (x, y))
