"""Surfaces of losses known in closed form, and of nets against loops written out here.

A wrong filter norm, a transposed grid, a plane through the wrong point, a batch norm that uses the
wrong statistics: each changes a number that is computed here in another way.
"""

import contextlib
import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sounding as sd

WAYS = ["plain", "folded", "stacked"]


class Bowl(nn.Module):
    """Half the sum of h w^2: eigenvalues h, eigenvectors the axes."""

    def __init__(self, curvature, at):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(at, dtype=torch.float64))
        self.register_buffer("h", torch.tensor(curvature, dtype=torch.float64))

    def forward(self, x):
        return 0.5 * (self.h * self.w**2).sum() + 0 * x.sum()


own_loss = sd.Objective(lambda model, batch: model(batch[0]))
NOTHING = (torch.zeros(1, dtype=torch.float64), torch.zeros(1))


def mlp(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def convolution(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    net(torch.randn(64, 2, 6, 6))  # running statistics that are no longer 0 and 1
    return net.eval()


def vectors(seed=1, count=64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    return x, x[:, :3].argmax(1)


def images(seed=1, count=70):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, 6, 6, generator=generator)
    return x, x.mean((2, 3)).argmax(1)


def at(model, directions, coordinates):
    """A copy of the model moved by a sum of directions, each a list of tensors."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for c, direction in zip(coordinates, directions, strict=True):
            for p, d in zip(moved.parameters(), direction, strict=True):
                p += c * d
    return moved


def looped(model, batch, directions, axes):
    """The grid of losses by copies of the model, one after the other."""
    with torch.no_grad():
        return np.array(
            [
                [float(F.cross_entropy(at(model, directions, (a, b))(batch[0]), batch[1]))
                 for b in axes[1]]
                for a in axes[0]
            ]
        )  # fmt: skip


def filter_normalised(model, count, seed):
    """Directions by the definition of Li et al. 2018, from the same random numbers."""
    size = sum(p.numel() for p in model.parameters())
    drawn = torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    drawn, found = drawn.to(next(model.parameters()).dtype), []
    for row in drawn:
        parts = row.split([p.numel() for p in model.parameters()])
        direction = []
        for p, part in zip(model.parameters(), parts, strict=True):
            d = torch.zeros_like(p)
            if p.ndim > 1:
                for i, f in enumerate(part.view_as(p)):
                    d[i] = f / f.norm() * p[i].detach().norm()
            direction.append(d)
        found.append(direction)
    return found


# --- what the numbers are ------------------------------------------------------------------------


def test_along_eigenvectors_a_quadratic_is_the_parabola_of_its_eigenvalues():
    model = Bowl([4.0, 1.0, -2.0], [0.0, 0.0, 0.0])
    found = sd.surface(model, own_loss, NOTHING, along="eigen", points=5, span=2.0)
    a, b = np.meshgrid(*found.axes, indexing="ij")
    assert np.allclose(found.values, 0.5 * (4 * a**2 - 2 * b**2), atol=1e-6)
    assert "largest eigenvalue, 4" in found.names[0]
    assert "smallest eigenvalue, -2" in found.names[1]


def test_along_the_gradient_the_slope_is_its_norm():
    model = Bowl([1.0, 1.0], [3.0, 4.0])  # gradient (3, 4), norm 5, loss 12.5
    found = sd.surface(model, own_loss, NOTHING, along="gradient", dims=1, points=3, span=0.5)
    assert np.allclose(found.values, 0.5 * (5 + np.array([-0.5, 0, 0.5])) ** 2)


@pytest.mark.parametrize("way", WAYS)
def test_filter_normalised_values_are_those_of_copied_nets(way):
    net, batch = mlp(), vectors()
    found = sd.surface(net, F.cross_entropy, batch, points=5, seed=3, way=way)
    want = looped(net, batch, filter_normalised(net, 2, 3), found.axes)
    assert np.allclose(found.values, want, rtol=1e-5, atol=0)
    assert found.way != "one call a point" or way == "plain"
    weights = math.sqrt(
        sum(float(p.detach().square().sum()) for p in net.parameters() if p.ndim > 1)
    )
    assert np.allclose(found.norms, weights)


@pytest.mark.parametrize("way", ["plain", "folded"])
def test_batch_norm_folded_into_convolutions_changes_no_number(way):
    net, batch = convolution(), images()
    found = sd.surface(net, F.cross_entropy, batch, points=5, way=way)
    want = looped(net, batch, filter_normalised(net, 2, 0), found.axes)
    assert np.allclose(found.values, want, rtol=1e-5, atol=0)
    assert ("folded" in found.way) == (way == "folded")
    assert found.deviation < 1e-5


def test_layer_and_random_directions_are_as_long_as_they_say():
    net = mlp()
    sizes = [float(p.detach().square().sum()) for p in net.parameters()]
    weights = math.sqrt(sizes[0] + sizes[2])
    found = sd.surface(net, F.cross_entropy, vectors(), along="layer", points=3)
    assert np.allclose(found.norms, weights)
    found = sd.surface(net, F.cross_entropy, vectors(), along="random", points=3)
    assert np.allclose(found.norms, math.sqrt(sum(sizes)))


def test_several_batches_count_by_their_samples_and_a_sum_is_a_sum():
    net, (x, y) = mlp(), vectors()
    parts = [(x[:50], y[:50]), (x[50:], y[50:])]
    whole = sd.surface(net, F.cross_entropy, (x, y), points=3)
    cut = sd.surface(net, F.cross_entropy, parts, points=3)
    assert np.allclose(cut.values, whole.values, rtol=1e-5)
    total = nn.CrossEntropyLoss(reduction="sum")
    summed = sd.surface(net, total, parts, points=3, reduction="sum")
    assert np.allclose(summed.values, 64 * whole.values, rtol=1e-5)


# --- batch norm ----------------------------------------------------------------------------------


def test_statistics_of_the_batch_and_of_the_model_give_other_surfaces_and_are_said():
    net, batch = convolution(), images()
    running = sd.surface(net, F.cross_entropy, batch, points=3, batch_norm="running")
    by_batch = sd.surface(net, F.cross_entropy, batch, points=3, batch_norm="batch")
    trained = copy.deepcopy(net).train()
    want = looped(trained, batch, filter_normalised(net, 2, 0), by_batch.axes)
    assert np.allclose(by_batch.values, want, rtol=1e-5)
    assert abs(running.loss - by_batch.loss) > 1e-4
    assert "running statistics" in running.batch_norm
    assert "each batch" in by_batch.batch_norm
    mode = sd.surface(net.train(), F.cross_entropy, batch, points=3)
    assert np.allclose(mode.values, by_batch.values, rtol=1e-6)
    assert "each batch" in mode.batch_norm


def test_recalibrated_statistics_are_those_of_the_data_at_every_point():
    net, (x, y) = convolution(), images()
    found = sd.surface(net, F.cross_entropy, (x, y), points=3, batch_norm="recalibrated")
    moved = at(net, filter_normalised(net, 2, 0), (found.axes[0][0], found.axes[1][2]))
    for module in moved.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    moved.train()(x)
    with torch.no_grad():
        want = float(F.cross_entropy(moved.eval()(x), y))
    assert found.values[0, 2] == pytest.approx(want, rel=1e-5)


# --- given points --------------------------------------------------------------------------------


def test_a_line_through_two_points_has_their_losses_at_their_distance():
    one, other, batch = mlp(0), mlp(1), vectors()
    found = sd.surface(one, F.cross_entropy, batch, along=other.state_dict(), dims=1, points=31)
    assert found.trajectory[0, 0] == 0
    apart = math.dist(
        *[nn.utils.parameters_to_vector(m.parameters()).tolist() for m in (one, other)]
    )
    assert found.trajectory[1, 0] == pytest.approx(apart, rel=1e-5)
    with torch.no_grad():
        ends = [float(F.cross_entropy(m(batch[0]), batch[1])) for m in (one, other)]
    reached = np.interp(found.trajectory[:, 0], found.axes[0], found.values)
    assert np.allclose(reached, ends, rtol=0.02)  # between grid points
    assert found.loss == pytest.approx(ends[0], rel=1e-6)


def test_three_points_lie_on_their_plane():
    nets, batch = [mlp(s) for s in range(3)], vectors()
    states = [n.state_dict() for n in nets]
    found = sd.surface(nets[0], F.cross_entropy, batch, along=states, points=5)
    flat = [nn.utils.parameters_to_vector(n.parameters()).detach() for n in nets]
    for i in range(3):
        for j in range(i):
            apart = float((flat[i] - flat[j]).norm())
            drawn = float(np.linalg.norm(found.trajectory[i] - found.trajectory[j]))
            assert drawn == pytest.approx(apart, rel=1e-4)


def test_a_trajectory_in_a_plane_is_explained_whole_and_one_in_space_by_its_variances():
    model = Bowl([1.0] * 4, [0.0] * 4)
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    flat = torch.stack([2 + 3 * t, 1 - t**2, 0 * t, 0 * t], 1)
    found = sd.surface(model, own_loss, NOTHING, along=list(flat), points=5)
    assert found.explained.sum() == pytest.approx(1)
    assert found.distances.max() < 1e-9
    axes = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=torch.float64))
    cloud = [s * row for row in axes[:3] for s in (1, -1)]
    found = sd.surface(model, own_loss, NOTHING, along=[*cloud, torch.zeros(4)], points=5)
    assert np.allclose(found.explained, [9 / 14, 4 / 14])
    assert np.allclose(sorted(found.distances), [0, 0, 0, 0, 0, 1, 1], atol=1e-9)
    assert np.allclose(np.abs(found.trajectory[0]), [3, 0], atol=1e-9)


# --- holes, notes, errors ------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_nan_is_a_hole_exactly_where_it_is(way):
    model = Bowl([1.0, 1.0], [0.0, 0.0])

    def loss(model, batch):
        value = model(batch[0])
        return torch.where(value > 2, value * float("nan"), value)

    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    found = sd.surface(model, sd.Objective(loss), NOTHING, along=list(corners), points=9, way=way)
    a, b = np.meshgrid(*found.axes, indexing="ij")
    want = 0.5 * (a**2 + b**2)
    assert np.array_equal(np.isnan(found.values), want > 2)
    assert np.allclose(found.values[want <= 2], want[want <= 2])
    assert found.holes == (want > 2).sum() > 10


def test_a_span_that_overflows_leaves_holes_and_says_so():
    net = mlp()
    found = sd.surface(net, lambda out, y: (out.float() ** 8).sum(), vectors(), points=3, span=1e9)
    assert found.holes == 8
    assert math.isfinite(found.loss)


def test_what_a_pass_raises_away_from_the_centre_is_a_hole_with_a_note():
    net, (x, y) = mlp(), vectors()

    def careful(out, target):
        value = F.cross_entropy(out, target)
        if float(value) > 1.5:
            raise ValueError("the loss is too large")
        return value

    found = sd.surface(net, careful, (x, y), points=5, span=3.0)
    assert found.holes
    assert any("too large" in note for note in found.notes)
    with pytest.raises(ValueError, match="too large"):
        sd.surface(net, lambda o, t: careful(o * 50, t), (x, y), points=3)


class Draws(nn.Module):
    """Adds noise of numpy's, which no seed of torch fixes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.generator = np.random.default_rng(0)

    def forward(self, x):
        return self.layer(x) + float(self.generator.normal())


def test_noise_between_two_calls_is_found_and_said():
    torch.manual_seed(0)
    found = sd.surface(Draws(), F.mse_loss, (torch.ones(4, 6), torch.zeros(4, 3)), points=3)
    assert found.noise > 1e-3
    assert any("two calls at the same point" in note for note in found.notes)
    still = sd.surface(mlp(), F.cross_entropy, vectors(), points=3)
    assert still.noise == 0
    assert still.notes == ()


def test_dropout_uses_one_mask_and_is_said():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 32), nn.Dropout(0.5), nn.Linear(32, 3))
    found = sd.surface(net, F.cross_entropy, vectors(), points=3)
    again = sd.surface(net, F.cross_entropy, vectors(), points=3)
    assert np.array_equal(found.values, again.values)
    assert any("one draw" in note for note in found.notes)
    assert not sd.surface(net.eval(), F.cross_entropy, vectors(), points=3).notes


def test_a_shuffling_loader_is_read_once_and_said():
    x, y = vectors()
    data = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
    found = sd.surface(mlp(), F.cross_entropy, loader, points=3)
    assert any("shuffles" in note for note in found.notes)
    plain = sd.surface(mlp(), F.cross_entropy, (x, y), points=3)
    assert np.allclose(found.values, plain.values, rtol=1e-5)


def test_parameters_without_effect_are_named():
    net = nn.ModuleDict({"used": nn.Linear(6, 3), "unused": nn.Linear(6, 3)})
    loss = sd.Objective(lambda model, batch: F.cross_entropy(model["used"](batch[0]), batch[1]))
    found = sd.surface(net, loss, vectors(), points=3)
    assert any("unused.weight" in note and "2 of 4" in note for note in found.notes)


def complex_net():
    net = nn.Linear(3, 1)
    net.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    return net


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"points": 2}, "3 at least"),
        ({"dims": 3}, "dims is 3"),
        ({"span": 0.0}, "span is 0"),
        ({"span": math.inf}, "span is inf"),
        ({"along": "sideways"}, "'sideways'; there are filter"),
        ({"along": []}, "plane needs 3 points"),
        ({"along": [{"x": torch.ones(2)}] * 2}, "lacks '0.weight'"),
        ({"along": [torch.ones(3)] * 2}, "has 3 numbers"),
        ({"along": [torch.full((83,), math.nan)] * 2}, "NaN"),
        ({"batch_norm": "frozen"}, "'frozen'; there are mode"),
        ({"batches": (torch.full((4, 6), math.nan), torch.zeros(4).long())}, "holds NaN"),
        ({"batches": (torch.ones(4, 7), torch.zeros(4).long())}, "cannot take the batch"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, "one number is needed"),
        ({"loss": lambda out, y: out.sum() * math.inf}, "at the centre is"),
        ({"loss": lambda out, y: 3.0}, "must be a torch tensor"),
        ({"model": complex_net()}, "complex64"),
        ({"model": nn.ReLU()}, "no parameters"),
        ({"way": "fast"}, "'fast'"),
    ],
)
def test_wrong_input_is_one_sentence(change, said):
    given = {"model": mlp(), "loss": F.cross_entropy, "batches": vectors(), **change}
    with pytest.raises(ValueError, match=said) as caught:
        sd.surface(given.pop("model"), given.pop("loss"), given.pop("batches"), **given)
    assert "\n" not in str(caught.value)


# --- given back, interrupted, resumed, refined ---------------------------------------------------


def state_of(net):
    tensors = {k: v.clone() for k, v in net.state_dict().items()}
    return tensors, [m.training for m in net.modules()], torch.get_rng_state()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fails", [False, True])
def test_model_and_generators_are_given_back(way, fails):
    net, batch = convolution().train(), images()
    net[1].weight.grad = torch.ones(4)
    versions = [p._version for p in net.parameters()]
    before = state_of(net)

    def told(*_):
        if fails:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop") if fails else contextlib.nullcontext():
        sd.surface(net, F.cross_entropy, batch, points=3, way=way, progress=told)
    after = state_of(net)
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert before[1] == after[1]
    assert torch.equal(before[2], after[2])
    assert torch.equal(net[1].weight.grad, torch.ones(4))
    assert versions == [p._version for p in net.parameters()]
    assert all(not hasattr(m, "x") for m in net.modules())


def test_an_interrupted_surface_goes_on_to_the_same_numbers(tmp_path):
    net, batch = mlp(), vectors()
    whole = sd.surface(net, F.cross_entropy, batch, points=9, way="plain")

    def interrupt(_, done, total):
        if done >= 30:
            raise KeyboardInterrupt

    part = sd.surface(net, F.cross_entropy, batch, points=9, way="plain", progress=interrupt)
    assert not part.complete
    assert 30 <= part.measured.sum() < 81
    assert part.measured[::8, ::8].all()  # from coarse to fine
    assert any("interrupted after" in note for note in part.notes)
    earlier = sd.load(part.save(tmp_path / "part.json"))
    rest = sd.surface(net, F.cross_entropy, batch, points=9, way="plain", resume=earlier)
    assert rest.complete
    assert np.array_equal(rest.values, whole.values)
    assert not any("interrupted" in note for note in rest.notes)
    with pytest.raises(ValueError, match="another plane"):
        sd.surface(net, F.cross_entropy, batch, points=9, seed=1, resume=earlier)
    with pytest.raises(ValueError, match="batches or the mode"):
        sd.surface(net, F.cross_entropy, vectors(5), points=9, resume=earlier)
    for other in ({"points": 6}, {"points": 9, "span": 0.5}):
        with pytest.raises(ValueError, match="another grid"):
            sd.surface(net, F.cross_entropy, batch, resume=earlier, **other)


def test_a_refinement_goes_on_to_the_grid_that_was_asked_for(tmp_path):
    net, batch = mlp(), vectors()
    whole = sd.surface(net, F.cross_entropy, batch, points=5, refine=4, way="plain")

    def interrupt(_, done, total):
        if total > 35 and done >= total - 3:  # while the third line is measured
            raise KeyboardInterrupt

    part = sd.surface(
        net, F.cross_entropy, batch, points=5, refine=4, way="plain", progress=interrupt
    )
    assert 2 <= sum(map(len, part.axes)) - 10 < 4
    earlier = sd.load(part.save(tmp_path / "part.json"))
    rest = sd.surface(net, F.cross_entropy, batch, points=5, refine=4, way="plain", resume=earlier)
    assert all(np.array_equal(a, b) for a, b in zip(rest.axes, whole.axes, strict=True))
    assert np.array_equal(rest.values, whole.values)


def test_refinement_puts_lines_where_it_is_steep():
    model = Bowl([0.0], [0.0])
    step = sd.Objective(lambda m, b: torch.sigmoid(40 * (m.w - 0.6)).sum() + 0 * b[0].sum())
    ends = [torch.zeros(1), torch.ones(1)]
    found = sd.surface(model, step, NOTHING, along=ends, dims=1, points=5, refine=6)
    assert len(found.axes[0]) == 11
    assert np.all(np.diff(found.axes[0]) > 0)
    x = found.axes[0]
    assert np.allclose(found.values, 1 / (1 + np.exp(-40 * (x - 0.6))), atol=1e-6)
    assert np.abs(x - 0.6).min() < 0.03
    assert found.complete


def test_tied_weights_and_recurrent_layers_move_as_one():
    torch.manual_seed(0)
    table = nn.Embedding(7, 4)
    net = nn.ModuleDict(
        {"table": table, "cell": nn.LSTM(4, 4, batch_first=True), "head": nn.Linear(4, 7)}
    )
    net["head"].weight = table.weight
    tokens = torch.randint(0, 7, (8, 5))

    def loss(model, batch):
        hidden, _ = model["cell"](model["table"](batch[0]))
        return F.cross_entropy(model["head"](hidden).transpose(1, 2), batch[1])

    found = sd.surface(net, sd.Objective(loss), (tokens, tokens), along="random", points=3)
    size = sum(p.numel() for p in net.parameters())
    drawn = torch.randn(2, size, generator=torch.Generator().manual_seed(0))
    flat = nn.utils.parameters_to_vector(net.parameters()).detach()
    moved = copy.deepcopy(net)
    rows = drawn / drawn.norm(dim=1, keepdim=True) * flat.norm()
    nn.utils.vector_to_parameters(flat - rows[0] + rows[1], moved.parameters())
    with torch.no_grad():
        want = float(loss(moved, (tokens, tokens)))
    assert found.values[0, 2] == pytest.approx(want, rel=1e-5)


def test_float64_stays_float64():
    net = mlp(dtype=torch.float64)
    x, y = vectors()
    found = sd.surface(net, F.cross_entropy, (x.double(), y), points=3)
    want = looped(net, (x.double(), y), filter_normalised(net, 2, 0), found.axes)
    assert np.allclose(found.values, want, rtol=1e-12)
