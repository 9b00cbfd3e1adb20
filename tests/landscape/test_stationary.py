"""Kinds of stationary points against answers known in closed form."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sounding as sd
from sounding.vectors import Layout

sys.path.insert(0, str(Path(__file__).parent))
from enumerable import points  # the tests' own problems


class Plane(nn.Module):
    """A function of two numbers, as a model whose forward pass is the loss."""

    def __init__(self, function, start, dtype=torch.float64):
        super().__init__()
        self.function = function
        self.x = nn.Parameter(torch.tensor(start, dtype=dtype))

    def forward(self):
        return self.function(*self.x)


SADDLE, LEVEL = "non-strict saddle", "degenerate"
TEXTBOOK = {
    "hyperbolic saddle": (lambda x, y: x**2 - y**2, "strict saddle", 1),
    "product": (lambda x, y: x * y, "strict saddle", 1),
    "bowl": (lambda x, y: x**2 + 3 * y**2, "strict minimum", 0),
    "dome": (lambda x, y: -(x**2) - y**2, "maximum", 2),
    "cubic": (lambda x, y: x**3 + y**2, SADDLE, 0),
    "monkey saddle": (lambda x, y: x**3 - 3 * x * y**2, SADDLE, 0),
    "quartic bowl": (lambda x, y: x**4 + y**4, LEVEL, 0),
    "half-quartic bowl": (lambda x, y: x**2 + y**4, LEVEL, 0),
    "quartic saddle": (lambda x, y: x**2 - y**4, SADDLE, 0),
    "quintic": (lambda x, y: x**5 + y**2, SADDLE, 0),
    "sextic saddle": (lambda x, y: y**2 - x**6, SADDLE, 0),
    "quartic dome": (lambda x, y: -(x**4) - y**4, "maximum", 0),
    "half-quartic dome": (lambda x, y: -(x**2) - y**4, "maximum", 1),
    "falls, and rises along a flat direction": (lambda x, y: y**4 - x**2, "strict saddle", 1),
    "constant": (lambda x, y: 0 * x * y + 3, LEVEL, 0),
    # Rises along every straight line through 0, falls along y = x^2.
    "curved saddle": (lambda x, y: y**2 - 2 * x**2 * y + x**4 / 2, SADDLE, 0),
    "curved bowl": (lambda x, y: y**2 - 2 * x**2 * y + 2 * x**4, LEVEL, 0),
    # min over x is -y^6 / 4
    "hidden sextic": (lambda x, y: x**2 + x * y**3, SADDLE, 0),
}


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e4])
@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook_points_are_right_at_the_point_and_found_from_nearby(name, scale):
    function, kind, index = TEXTBOOK[name]

    def scaled(x, y):
        return scale * function(x, y)

    at = sd.stationary(Plane(scaled, [0.0, 0.0]), search=False)
    assert (at.kind, at.index) == (kind, index)
    if name != "constant":
        found = sd.stationary(Plane(scaled, [0.3, 0.2]))
        assert (found.kind, found.index) == (kind, index)
        assert np.abs(found.parameters["x"]).max() < 1e-3


def himmelblau(x, y):
    return (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2


def rosenbrock(x, y):
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2


def test_all_nine_points_of_himmelblau_are_found_with_their_kinds():
    found = {}
    for a in np.linspace(-5, 5, 7):
        for b in np.linspace(-5, 5, 7):
            point = sd.stationary(Plane(himmelblau, [a, b]))
            found[tuple(np.round(point.parameters["x"], 4))] = point.kind
    kinds = sorted(found.values())
    assert kinds == ["maximum"] + ["strict minimum"] * 4 + ["strict saddle"] * 4
    minima = {k for k, v in found.items() if v == "strict minimum"}
    assert minima == {(3.0, 2.0), (-2.8051, 3.1313), (-3.7793, -3.2832), (3.5844, -1.8481)}


@pytest.mark.parametrize("start", [[-1.2, 1.0], [0.0, 0.0], [2.0, -3.0]])
def test_rosenbrock_has_its_one_minimum(start):
    found = sd.stationary(Plane(rosenbrock, start))
    assert found.kind == "strict minimum"
    np.testing.assert_allclose(found.parameters["x"], [1, 1], atol=1e-6)
    least, most = np.linalg.eigvalsh([[802, -400], [-400, 200]])
    assert (found.smallest, found.largest) == (pytest.approx(least), pytest.approx(most))
    assert found.distance < 1e-6  # the theorem of Newton and Kantorovich applies


@pytest.mark.parametrize("length", [1e-3, 1e3])
def test_the_answer_does_not_depend_on_the_units_of_the_parameters(length):
    """Eigenvalues are divided by the square of the unit."""

    def scaled(x, y):
        return himmelblau(x / length, y / length)

    for start, kind in (((3, 2), "strict minimum"), ((-0.2, -0.9), "maximum")):
        one = sd.stationary(Plane(himmelblau, list(map(float, start))))
        found = sd.stationary(Plane(scaled, [length * s for s in start]))
        assert found.kind == one.kind == kind
        np.testing.assert_allclose(found.parameters["x"], length * one.parameters["x"], rtol=1e-6)
        assert found.smallest * length**2 == pytest.approx(one.smallest, rel=1e-5)


def test_a_point_where_only_the_gradients_norm_is_stationary_is_said_to_be_one():
    """The slope of x + x^3 / 3 is 1 + x^2: no stationary point, its norm is least at 0."""
    point = sd.stationary(Plane(lambda x, y: x + x**3 / 3 + y**2, [0.5, 0.2]))
    assert point.kind == "not stationary"
    assert "only the gradient's norm is stationary" in point.reason
    assert abs(point.parameters["x"][0]) < 1e-3
    assert point.gradient_norm == pytest.approx(1)
    assert not point.is_stationary


def test_a_minimum_at_infinity_is_none():
    point = sd.stationary(Plane(lambda x, y: torch.exp(-x) + y**2, [0.5, 0.2]))
    assert point.kind in ("undecided", "not stationary")


def test_where_it_stands_far_from_any_point_it_is_not_stationary():
    point = sd.stationary(Plane(rosenbrock, [-1.2, 1.0]), search=False)
    assert point.kind == "not stationary"
    assert point.gradient_norm == pytest.approx(math.hypot(-215.6, -88.0), rel=1e-9)
    assert point.second_order is False


def test_rho_and_the_second_order_test():
    """f = x^3/6 + (y^2 - c x^2)/2: the Hessian's Lipschitz constant is 1 everywhere."""

    def bent(c):
        return Plane(lambda x, y: x**3 / 6 + (y**2 - c * x**2) / 2, [0.0, 0.0])

    for c, expected in ((0.05, True), (0.2, False)):  # sqrt(rho eps) = 0.1
        point = sd.stationary(bent(c), search=False, eps=0.01)
        assert point.rho == pytest.approx(1.0, rel=1e-3)
        assert point.second_order is expected
        assert point.kind == "strict saddle"


def test_the_smallest_eigenvalue_of_enumerable_points_and_their_kinds():
    """The test named slow takes 1,000."""
    _enumerate(90, seed=0)


@pytest.mark.slow
def test_a_thousand_enumerable_points_none_wrong_less_than_two_percent_undecided():
    _enumerate(1000, seed=1)


def _enumerate(count, seed):
    undecided = 0
    for model, kind, smallest in points(count, seed):
        point = sd.stationary(model, search=False)
        undecided += point.kind == "undecided"
        assert point.kind in (kind, "undecided")
        if smallest is not None:
            assert point.smallest == pytest.approx(smallest, abs=1e-8)
    assert undecided < 0.02 * count


def test_the_search_comes_back_to_a_saddle_after_a_small_push():
    for model, kind, smallest in points(12, seed=5):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in model.parameters():
                p += 1e-4 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        point = sd.stationary(model)
        assert point.is_stationary
        assert point.moved < 0.01
        if smallest is not None:
            assert point.smallest == pytest.approx(smallest, abs=1e-6)
            assert point.kind == kind


# -- networks, batches, large ones ----------------------------------------------------------


def network(activation=nn.Tanh, dtype=torch.float64, width=6, seed=0):
    torch.manual_seed(seed)
    layers = nn.Linear(8, width), activation(), nn.Linear(width, 3)
    x = torch.randn(96, 8, dtype=dtype)
    return nn.Sequential(*layers).to(dtype), (x, x[:, :3].argmax(1))


def flat_hessian(net, batch):
    """Dense, by torch.func, of the parameters in order."""
    parameters = {k: v.detach() for k, v in net.named_parameters()}
    layout = Layout(parameters)

    def loss(flat):
        values = dict(zip(parameters, layout.split(flat), strict=True))
        return nn.functional.cross_entropy(torch.func.functional_call(net, values, batch[0]),
                                           batch[1])  # fmt: skip

    return torch.func.jacrev(torch.func.jacrev(loss))(layout.join(list(parameters.values())))


def test_a_network_is_given_back_and_what_was_found_can_be_loaded():
    net, batch = network()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    point = sd.stationary(net, nn.functional.cross_entropy, batch)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert bool((net[0].weight.grad == 1).all())
    assert torch.equal(torch.get_rng_state(), random)
    point.load_into(net)
    loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    assert float(norm) == pytest.approx(point.gradient_norm, rel=1e-3, abs=1e-12)
    assert float(norm) <= point.gradient_bound < 1e-6
    values = torch.linalg.eigvalsh(flat_hessian(net, batch))
    assert point.smallest == pytest.approx(float(values[0]), rel=1e-9)
    assert point.index == int((values < -point.flatness).sum())
    assert point.flat == int((values.abs() <= point.flatness).sum())


def test_krylov_and_dense_agree():
    """At one point: the ends of two searches are as near as their tolerance, and no nearer."""
    net, batch = network()
    dense = sd.stationary(net, nn.functional.cross_entropy, batch, dense=True)
    found = sd.stationary(net, nn.functional.cross_entropy, batch, dense=False)
    assert dense.kind == found.kind == "strict saddle"
    assert found.smallest == pytest.approx(dense.smallest, rel=1e-6)
    dense.load_into(net)
    large = sd.stationary(net, nn.functional.cross_entropy, batch, dense=False, search=False)
    assert large.kind == "strict saddle"
    rounding = 1e-13 * dense.largest
    assert abs(large.smallest - dense.smallest) <= large.smallest_error + rounding
    assert large.smallest_bound <= dense.smallest + rounding
    assert not large.exact


def test_several_batches_are_one_loss_and_give_the_gradients_noise():
    net, (x, t) = network()
    whole = sd.stationary(net, nn.functional.cross_entropy, (x, t), search=False)
    parts = [(x[i::4], t[i::4]) for i in range(4)]
    point = sd.stationary(net, nn.functional.cross_entropy, parts, search=False)
    assert math.isnan(whole.gradient_noise)
    assert point.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-12)
    assert point.smallest == pytest.approx(whole.smallest, rel=1e-9)
    rows = []
    for part in parts:
        loss = nn.functional.cross_entropy(net(part[0]), part[1])
        grads = torch.autograd.grad(loss, list(net.parameters()))
        rows.append(torch.cat([g.flatten() for g in grads]))
    rows = torch.stack(rows)
    error = float((rows.var(0) / 4).sum().sqrt())
    assert point.gradient_noise == pytest.approx(error, rel=1e-9)


def test_single_precision_finds_the_same_saddle():
    net, batch = network(dtype=torch.float32)
    point = sd.stationary(net, nn.functional.cross_entropy, batch)
    assert point.kind == "strict saddle"


def test_on_a_kink_no_derivative_certifies_a_minimum():
    """All weights zero: every pre-activation is on the kink of its rectifier."""
    net, batch = network(nn.ReLU)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net[2].bias.copy_(torch.log(torch.bincount(batch[1]).double()))
    point = sd.stationary(net, nn.functional.cross_entropy, batch, search=False)
    assert (point.kinks, point.rectified) == (96 * 6, 96 * 6)
    assert point.kind == "undecided"
    assert "kink" in point.reason
    assert point.notes


def test_a_kink_that_the_loss_does_not_have_does_no_harm():
    point = sd.stationary(Plane(lambda x, y: x.abs() ** 2 - y**2, [0.0, 0.0]), search=False)
    assert (point.kinks, point.kind) == (1, "strict saddle")
    assert point.largest == pytest.approx(2, rel=1e-6)


def test_it_survives_being_saved(tmp_path):
    net, batch = network()
    point = sd.stationary(net, nn.functional.cross_entropy, batch, search=False)
    again = sd.load(point.save(tmp_path / "point.json"))
    assert isinstance(again, sd.StationaryPoint)
    assert (again.kind, again.smallest) == (point.kind, point.smallest)
    with torch.no_grad():
        net[0].weight += 1
    again.load_into(net)
    np.testing.assert_array_equal(net[0].weight.detach().numpy(), point.parameters["0.weight"])
    with pytest.raises(ValueError, match="other parameters"):
        again.load_into(nn.Linear(2, 2))


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        sd.stationary(Plane(lambda x, y: torch.log(x) + y, [-1.0, 0.0]))


class Draws(nn.Module):
    """Adds noise of numpy's, which no seed of torch fixes."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.generator = np.random.default_rng(0)

    def forward(self):
        return (self.x - float(self.generator.normal())).square().sum()


def test_a_loss_that_differs_from_call_to_call_certifies_nothing():
    point = sd.stationary(Draws(), search=False)
    assert point.kind == "undecided"
    assert any("two calls at the same point" in note for note in point.notes)
    assert not sd.escape(Draws(), steps=3).escaped


def test_dropout_and_a_shuffling_loader_are_said():
    net, (x, y) = network()
    dropping = nn.Sequential(net[0], nn.Dropout(0.5), net[1], net[2])
    point = sd.stationary(dropping, nn.functional.cross_entropy, (x, y), search=False)
    assert any("one draw" in note for note in point.notes)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=48, shuffle=True
    )
    random = torch.get_rng_state()
    point = sd.stationary(net, nn.functional.cross_entropy, loader, search=False)
    assert torch.equal(torch.get_rng_state(), random)
    assert any("shuffles" in note for note in point.notes)
    still = sd.stationary(net, nn.functional.cross_entropy, (x, y), search=False)
    assert still.notes == ()
    assert still.loss == pytest.approx(point.loss)


def test_parameters_that_the_loss_ignores_are_flat():
    class Idle(Plane):
        def __init__(self):
            super().__init__(lambda x, y: x**2 + y**2, [0.3, 0.2])
            self.idle = nn.Parameter(torch.ones(3, dtype=torch.float64))

    point = sd.stationary(Idle())
    assert (point.kind, point.flat) == ("degenerate", 3)


def test_an_interrupt_gives_the_model_back():
    def interrupt(*_):
        raise KeyboardInterrupt

    plane = Plane(rosenbrock, [-1.2, 1.0])
    with pytest.raises(KeyboardInterrupt):
        sd.stationary(plane, progress=interrupt)
    assert plane.x.tolist() == [-1.2, 1.0]
