"""Hessians against closed forms and dense derivatives, by every method; and what they leave behind.

The layers one by one are in test_layers.py; here are the closed forms that no autograd was asked
for, the sums over batches, the budget of memory, and wrong input.
"""

import contextlib
import gc
import math
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from sounding.curvature.hessian import hessian
from sounding.curvature.products import METHODS
from sounding.objective import Objective


def _data(n=24, inputs=5, classes=3, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=g).to(dtype)
    return x, torch.randint(0, classes, (n,), generator=g)


def _net(seed=0, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)


def _dense(net, loss, batch):
    """By torch.func on the parameters as a dict."""
    values = {n: p.detach() for n, p in net.named_parameters()}

    def of(values):
        return loss(torch.func.functional_call(net, values, (batch[0],)), batch[1])

    nested = torch.func.jacrev(torch.func.jacrev(of))(values)
    sizes = {name: value.numel() for name, value in values.items()}
    rows = [[nested[a][b].reshape(sizes[a], sizes[b]) for b in values] for a in values]
    return torch.cat([torch.cat(row, 1) for row in rows])


# -- closed forms ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["kept", "double", "difference"]
)  # torch has no jvp of mse_loss's
def test_linear_regression(method):
    x, _ = _data()
    net = nn.Linear(5, 1, bias=False).double()
    y = torch.ones(24, 1, dtype=torch.float64)
    found = hessian(net, F.mse_loss, (x, y), method=method).to_dense()
    assert torch.allclose(found, 2 / 24 * x.T @ x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_logistic_regression(method):
    x, y = _data(classes=2)
    net = nn.Linear(5, 1, bias=False).double()
    target = y.double()[:, None]
    p = torch.sigmoid(net(x)).detach()
    expected = (x * p * (1 - p)).T @ x / 24
    found = hessian(net, F.binary_cross_entropy_with_logits, (x, target), method=method).to_dense()
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_deep_linear_net_of_scalars():
    # L = (abc x - y)^2 / 2: d2L/da2 = (bc x)^2, d2L/dadb = (abc x - y) c x + (bc x)(ac x).
    net = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(3))).double()
    a, b, c = 0.7, -1.3, 0.4
    with torch.no_grad():
        for layer, value in zip(net, (a, b, c), strict=True):
            layer.weight.fill_(value)
    x, y = 2.0, 0.5
    batch = (torch.tensor([[x]]).double(), torch.tensor([[y]]).double())
    found = hessian(net, lambda z, t: 0.5 * (z - t).square().mean(), batch).to_dense()
    r = a * b * c * x - y
    expected = torch.tensor([
        [(b * c * x) ** 2, r * c * x + b * c * a * c * x**2, r * b * x + b * c * a * b * x**2],
        [r * c * x + b * c * a * c * x**2, (a * c * x) ** 2, r * a * x + a * c * a * b * x**2],
        [r * b * x + b * c * a * b * x**2, r * a * x + a * c * a * b * x**2, (a * b * x) ** 2],
    ]).double()  # fmt: skip
    assert torch.allclose(found, expected, atol=1e-12)


def test_relu_student_at_its_teacher():
    """Blocks E[1{w_i x > 0, w_j x > 0} x x'], in closed form for Gaussian x.

    Safran & Shamir 2018, "Spurious local minima are common in two-layer ReLU neural networks",
    section 4: I/2 on the diagonal, ((pi - t) I + n_wv v' + n_vw w')/(2 pi) off it. With 200,000
    inputs an entry's standard error is below 0.003; 5 of them are allowed.
    """
    n = 200_000
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    net = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))

    def population(model, batch):
        student = model(batch).relu().sum(1)
        teacher = (batch @ torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])).relu().sum(1)
        return 0.5 * (student - teacher).square().mean()

    found = hessian(net, Objective(population), [x], check=False).to_dense()
    w, v = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    off = (math.pi / 2 * torch.eye(3) + torch.outer(w, v) + torch.outer(v, w)) / (2 * math.pi)
    expected = torch.cat(
        [torch.cat([torch.eye(3) / 2, off], 1), torch.cat([off.T, torch.eye(3) / 2], 1)]
    )
    assert float((found - expected).abs().max()) < 0.015


# -- dense derivatives ----------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_against_the_dense_hessian(method):
    net, batch = _net(), _data()
    found = hessian(net, F.cross_entropy, batch, method=method)
    assert torch.allclose(found.to_dense(), _dense(net, F.cross_entropy, batch), atol=1e-6)
    assert found.method == METHODS[method]


def test_single_precision_is_as_good_as_its_rounding():
    net, batch = _net(dtype=torch.float32), _data(dtype=torch.float32)
    exact = _dense(_net(), F.cross_entropy, _data())
    found = hessian(net, F.cross_entropy, batch).to_dense()
    assert found.dtype == torch.float32
    assert float((found - exact).norm() / exact.norm()) < 1e-5


def test_bfloat16_models_are_differentiated_in_their_own_precision():
    net = _net().to(torch.bfloat16)
    exact = _dense(net.double(), F.cross_entropy, _data())
    batch = _data(dtype=torch.bfloat16)
    found = hessian(_net().to(torch.bfloat16), F.cross_entropy, batch).to_dense().double()
    assert float((found - exact).norm() / exact.norm()) < 0.05


def test_blocks_of_vectors_equal_single_ones():
    operator = hessian(_net(), F.cross_entropy, _data())
    vectors = torch.randn(operator.size, 6, generator=torch.Generator().manual_seed(0)).double()
    singles = torch.stack([operator @ v for v in vectors.T], 1)
    assert torch.allclose(operator @ vectors, singles, atol=1e-12)  # the first is timed both ways
    assert torch.allclose(operator @ vectors, singles, atol=1e-12)


def test_restriction_is_the_block_of_the_whole():
    net, batch = _net(), _data()
    whole = hessian(net, F.cross_entropy, batch)
    block = hessian(net, F.cross_entropy, batch, parameters="2")
    assert block.size == 21
    assert torch.allclose(block.to_dense(), whole.restricted("2").to_dense(), atol=1e-12)


def test_tied_weights_count_once_and_frozen_ones_not_at_all():
    # z = W W x: one weight, the second derivative through both uses.
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(1, 1)
            self.one.weight = nn.Parameter(torch.full((1, 1), 3.0).double())
            self.one.bias = nn.Parameter(torch.zeros(1).double(), requires_grad=False)
            self.two = self.one

        def forward(self, x):
            return self.two(self.one(x))

    batch = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
    found = hessian(Tied(), F.mse_loss, batch).to_dense()
    assert found.shape == (1, 1)
    assert float(found) == pytest.approx(12 * 3.0**2)  # (w^2)^2 = w^4, second derivative 12 w^2


# -- batches --------------------------------------------------------------------------------


def test_a_data_set_in_batches_of_unequal_size_is_one_mean():
    net, (x, y) = _net(), _data(25)
    whole = _dense(net, F.cross_entropy, (x, y))
    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    loader = DataLoader(TensorDataset(x, y), batch_size=7)
    for given in (batches, loader):
        assert torch.allclose(hessian(net, F.cross_entropy, given).to_dense(), whole, atol=1e-10)


def test_sums_and_chosen_batches():
    net, (x, y) = _net(), _data(25)

    def total(output, target):
        return F.cross_entropy(output, target, reduction="sum")

    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    found = hessian(net, total, batches, reduction="sum").to_dense()
    assert torch.allclose(found, 25 * _dense(net, F.cross_entropy, (x, y)), atol=1e-9)
    second = hessian(net, F.cross_entropy, batches[1:]).to_dense()
    assert torch.allclose(second, _dense(net, F.cross_entropy, batches[1]), atol=1e-10)


def test_micro_batches_give_the_same_matrix():
    net, batch = _net(), _data(25)
    found = hessian(net, F.cross_entropy, batch, micro_batch=4).to_dense()
    assert torch.allclose(found, _dense(net, F.cross_entropy, batch), atol=1e-10)


def test_micro_batches_that_do_not_add_up_are_refused():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()
    with pytest.raises(ValueError, match="samples are not independent"):
        hessian(net, F.cross_entropy, _data(), micro_batch=4)
    assert hessian(net.eval(), F.cross_entropy, _data(), micro_batch=4).size == 69


# -- memory ---------------------------------------------------------------------------------


def test_graphs_are_kept_while_they_fit_and_built_anew_otherwise():
    net, (x, y) = _net(), _data(400)
    batches = [(x[:200], y[:200]), (x[200:], y[200:])]
    plenty = hessian(net, F.cross_entropy, batches, memory=1e9)
    scarce = hessian(net, F.cross_entropy, batches, memory=60_000)
    assert plenty.method == METHODS["kept"]
    assert scarce.method == f"{METHODS['kept']}, {METHODS['double']}"
    assert torch.allclose(plenty.to_dense(), scarce.to_dense(), atol=1e-12)


def test_a_budget_that_is_too_small_says_what_would_fit():
    net, batch = _net(), _data(400)
    with pytest.raises(
        ValueError, match=r"needs more than the 20 kB .* micro_batch=\d+ would fit"
    ) as said:
        hessian(net, F.cross_entropy, batch, memory=20_000)
    fits = int(str(said.value).split("micro_batch=")[1].split()[0])
    assert (
        hessian(net, F.cross_entropy, batch, memory=20_000, micro_batch=fits).size
        == net[0].weight.numel() + 6 + 21
    )
    assert fits > 10
    with pytest.raises(ValueError, match=r"one sample needs .* raise memory="):
        hessian(net, F.cross_entropy, batch, memory=10)


def test_a_graph_is_given_back_with_its_operator():
    seen = []

    class Exponential(nn.Module):
        def forward(self, x):
            y = x.exp()  # autograd saves this output itself: a cycle that no collector sees
            seen.append(weakref.ref(y))
            return y

    net = nn.Sequential(nn.Linear(5, 6), Exponential(), nn.Linear(6, 3)).double()
    operator = hessian(net, F.cross_entropy, _data(), check=False)
    operator @ torch.ones(operator.size)
    del operator
    gc.collect()
    assert not any(ref() is not None for ref in seen)


# -- what is left behind --------------------------------------------------------------------


def _state(net):
    return (
        {n: t.clone() for n, t in net.state_dict().items()},
        [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        [m.training for m in net.modules()],
        torch.get_rng_state(),
    )


def _same(one, other):
    def equal(a, b):
        return a is b is None or (a is not None and b is not None and torch.equal(a, b))

    tensors = all(torch.equal(one[0][n], other[0][n]) for n in one[0])
    gradients = all(map(equal, one[1], other[1]))
    return tensors and gradients and one[2] == other[2] and torch.equal(one[3], other[3])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("raises", [False, True])
def test_the_model_is_given_back(method, raises):
    net = nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3)
    ).double()
    batch = _data()
    F.cross_entropy(net(batch[0]), batch[1]).backward()
    before = _state(net)
    calls = []

    def loss(output, target):
        calls.append(1)
        if raises and len(calls) > 6:
            raise KeyboardInterrupt
        return F.cross_entropy(output, target)

    with contextlib.suppress(KeyboardInterrupt, ValueError):
        operator = hessian(net, loss, batch, method=method)
        operator @ torch.ones(operator.size)
    assert _same(before, _state(net))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_dropout_draws_one_mask_for_every_product():
    net = nn.Sequential(nn.Linear(5, 20), nn.Dropout(0.5), nn.Linear(20, 3)).double()
    one = hessian(net, F.cross_entropy, _data(), method="double", seed=1)
    assert torch.equal(one.to_dense(), one.to_dense())
    other = hessian(net, F.cross_entropy, _data(), method="double", seed=2)
    assert not torch.allclose(one.to_dense(), other.to_dense())


def test_an_operator_of_a_model_that_moved_on_says_so():
    net = _net()
    operator = hessian(net, F.cross_entropy, _data())
    with torch.no_grad():
        net[0].weight.add_(0.1)
    with pytest.raises(ValueError, match="parameters have changed since this operator was made"):
        operator @ torch.ones(operator.size)


# -- the check ------------------------------------------------------------------------------


class _WrongBackward(torch.autograd.Function):
    """x^2 whose gradient is right and whose second derivative is twice what it should be."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * g * (2 * x - x.detach())


class _Square(nn.Module):
    def forward(self, x):
        return _WrongBackward.apply(x)


def test_a_second_derivative_off_by_two_is_found_and_replaced():
    net = nn.Sequential(nn.Linear(5, 6), _Square(), nn.Linear(6, 3)).double()
    right = nn.Sequential(net[0], nn.Identity(), net[2])
    right[1].forward = lambda x: x**2
    found = hessian(net, F.cross_entropy, _data())
    assert found.method == METHODS["difference"]
    assert "finite differences take its place" in found.notes[0]
    assert torch.allclose(found.to_dense(), _dense(right, F.cross_entropy, _data()), atol=1e-6)
    unchecked = hessian(net, F.cross_entropy, _data(), check=False)
    assert not torch.allclose(unchecked.to_dense(), found.to_dense(), atol=1e-2)


class _Stopped(nn.Module):
    def forward(self, x):
        return x * x.detach()


def test_a_gradient_that_is_not_the_loss_s_is_refused_by_name():
    net = nn.Sequential(nn.Linear(5, 6), _Stopped(), nn.Linear(6, 3)).double()
    with pytest.raises(ValueError, match=r"no right second derivative of 1 \(_Stopped\)") as said:
        hessian(net, F.cross_entropy, _data())
    assert "\n" not in str(said.value)


def test_a_kink_right_here_is_undecided_and_said():
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        net[0].weight[0].zero_()
        net[0].bias[0].zero_()  # this unit sits at its kink for every input
    found = hessian(net, F.cross_entropy, _data())
    assert found.method == METHODS["kept"]
    assert "could not be checked" in found.notes[0]


# -- wrong input ----------------------------------------------------------------------------


def _counted(output, target):
    return output.argmax(1).double().mean()


WRONG = {
    "has no parameters": lambda: (nn.ReLU(), F.cross_entropy, _data()),
    "are frozen": lambda: (_net().requires_grad_(False), F.cross_entropy, _data()),
    "holds NaN": lambda: (_net(), F.cross_entropy, (_data()[0] * math.nan, _data()[1])),
    "does not depend on any": lambda: (_net(), _counted, _data()),
    "one number is needed": lambda: (_net(), lambda z, t: z, _data()),
    "so there is no curvature": lambda: (_net(), lambda z, t: z.mean() * math.inf, _data()),
    "cannot take the batch": lambda: (_net(), F.cross_entropy, (_data()[0][:, :4], _data()[1])),
    "batches is empty": lambda: (_net(), F.cross_entropy, []),
    "can be read only once": lambda: (_net(), F.cross_entropy, iter([_data()])),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_input_is_one_sentence(words):
    model, loss, batches = WRONG[words]()
    with pytest.raises(ValueError, match=words) as said:
        hessian(model, loss, batches)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "fast"}, "there are kept, double, forward, difference"),
        ({"reduction": "none"}, "it is 'mean' or 'sum'"),
        ({"micro_batch": 0}, "micro_batch is 0"),
        ({"parameters": "nine"}, "no trainable parameter matches 'nine'"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, words):
    with pytest.raises(ValueError, match=words):
        hessian(_net(), F.cross_entropy, _data(), **arguments)
