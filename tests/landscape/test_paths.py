"""Paths on losses known in closed form, and permutations that are known because they were made.

A barrier measured from the wrong line, a Bezier curve with the wrong weights, a permutation applied
to one side of a layer only: each changes a number or a function that is known here.
"""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import sounding as sd
from sounding.landscape.checkpoints import load_state, set_state
from sounding.landscape.matching import groups, matched


class Ring(nn.Module):
    """Loss (|w|^2 - 1)^2, per sample times its factor: a circle of minima, a hill in the middle."""

    def __init__(self, at):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(at, dtype=torch.float64))

    def forward(self, factor):
        return factor * ((self.w**2).sum() - 1) ** 2


def mean(output, _):
    return output.mean()


def factors(values):
    values = torch.tensor(values, dtype=torch.float64)
    return values, torch.zeros(len(values))


# --- curves and barriers -------------------------------------------------------------------------


def test_the_barrier_on_a_line_across_the_ring_is_the_hill():
    west, east = Ring([-1.0, 0.0]), torch.tensor([1.0, 0.0])
    found = sd.path(west, east, mean, factors([1.0] * 40), points=21)
    assert np.allclose(found.losses, ((2 * found.at - 1) ** 2 - 1) ** 2)
    assert found.barrier == pytest.approx(1)
    assert found.peak == 0.5
    assert found.distance == found.length == pytest.approx(2)


def test_the_barrier_is_the_excess_over_the_line_between_the_ends_not_over_zero():
    model = Ring([0.0, 0.0])  # loss 1 at the start, 9 at the end, convex along the way there
    found = sd.path(model, torch.tensor([2.0, 0.0]), mean, factors([1.0] * 8), points=11)
    assert found.losses[0] == pytest.approx(1)
    assert found.losses[-1] == pytest.approx(9)
    assert found.barrier == 0
    assert found.peak in (0, 1)


def test_its_interval_holds_the_barrier_of_the_distribution():
    """The hill's height is the mean factor; 200 draws, 95 %: 6 or fewer of 40 may miss."""
    generator = np.random.default_rng(0)
    missed = 0
    for _ in range(40):
        drawn = factors(generator.exponential(2.0, 200).tolist())
        found = sd.path(Ring([-1.0, 0.0]), torch.tensor([1.0, 0.0]), mean, drawn, points=5)
        low, high = found.interval
        missed += not low <= 2 <= high
        assert found.groups == 20
        assert low < found.barrier < high
    assert missed <= 6  # more with probability 0.4 %


def test_the_standard_error_is_that_of_a_mean():
    drawn = factors(np.random.default_rng(1).exponential(2.0, 400).tolist())
    batches = [(drawn[0][i : i + 10], drawn[1][i : i + 10]) for i in range(0, 400, 10)]
    found = sd.path(Ring([-1.0, 0.0]), torch.tensor([1.0, 0.0]), mean, batches, points=3)
    want = float(drawn[0].std()) / 20
    assert found.groups == 40
    assert found.errors[1] == pytest.approx(want, rel=0.3)
    assert found.errors[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", ["bezier", "chain"])
def test_a_trained_curve_goes_around_the_hill(kind):
    start = Ring([-1.0, 0.05])
    end, batch = torch.tensor([1.0, 0.05]), factors([1.0] * 8)
    found = sd.path(start, end, mean, batch, kind=kind, points=21, steps=300, lr=0.05)
    assert found.barrier < 0.1  # the hill is 1
    assert found.bends.shape == ({"bezier": 1, "chain": 3}[kind], 2)
    assert found.length > 2.4
    points = np.array([[-1.0, 0.05], *found.bends.numpy(), [1.0, 0.05]])
    for t, loss in zip(found.at, found.losses, strict=True):
        if kind == "bezier":
            w = np.array([(1 - t) ** 2, 2 * t * (1 - t), t**2]) @ points
        else:
            w = [np.interp(t, np.linspace(0, 1, 5), column) for column in points.T]
        assert loss == pytest.approx((np.sum(np.square(w)) - 1) ** 2, abs=1e-9)


def test_an_infinite_loss_on_the_way_is_an_infinite_barrier():
    hole = sd.Objective(lambda model, batch: -(model.w**2).sum().log() + 0 * batch[0].sum())
    found = sd.path(Ring([-1.0, 0.0]), torch.tensor([1.0, 0.0]), hole, factors([1.0] * 8), points=5)
    assert found.barrier == np.inf
    assert np.isnan(found.interval[0])
    assert any("not finite" in note for note in found.notes)


def convolution(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(54, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip
    net(torch.randn(32, 1, 6, 6))
    return net.eval()


class Residual(nn.Module):
    """A sum joins the units of its sides; a layer norm keeps their order."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.inner = nn.Linear(5, 8), nn.Linear(8, 12)
        self.outer, self.norm, self.head = nn.Linear(12, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        h = torch.relu(self.first(x))
        return self.head(self.norm(h + self.outer(F.gelu(self.inner(h)))))


def test_endpoints_of_a_net_with_batch_norm_are_recalibrated_by_default():
    one, other = convolution(0), convolution(1)
    x = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(40) % 3
    found = sd.path(one, other, F.cross_entropy, (x, y), points=3)
    assert "anew at every point" in found.batch_norm
    for net, loss in ((one, found.losses[0]), (other, found.losses[-1])):
        fresh = copy.deepcopy(net)
        fresh[1].reset_running_stats()
        fresh[1].momentum = None
        fresh.train()(x)
        with torch.no_grad():
            assert loss == pytest.approx(float(F.cross_entropy(fresh.eval()(x), y)), rel=1e-5)


# --- matching of units ---------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "shape"), [(convolution, (9, 1, 6, 6)), (Residual, (9, 5))])
def test_a_net_with_shuffled_units_is_matched_back_to_itself(make, shape):
    net = make(0)
    shuffled = {k: v.clone() for k, v in net.state_dict().items()}
    generator = torch.Generator().manual_seed(3)
    for group in groups(net):
        order = torch.randperm(group.size, generator=generator)
        for name, axis in group.touched:
            rows = shuffled[name].movedim(axis, 0)
            blocks = rows.reshape(group.size, -1)[order].reshape(rows.shape)
            shuffled[name] = blocks.movedim(0, axis).contiguous()
    other = copy.deepcopy(net)
    other.load_state_dict(shuffled)
    x = torch.randn(shape)
    with torch.no_grad():
        assert torch.allclose(other(x), net(x), atol=1e-5)  # the groups are whole
    found, moved = matched(net, net.state_dict(), shuffled)
    assert moved > 0
    assert all(torch.equal(found[k], v) for k, v in net.state_dict().items())


def test_the_groups_are_those_that_can_be_seen_by_hand():
    found = {g.size: {name for name, _ in g.touched} for g in groups(Residual(0))}
    assert found[12] == {"inner.weight", "inner.bias", "outer.weight"}
    assert found[8] == {
        "first.weight", "first.bias", "inner.weight", "outer.weight", "outer.bias", "norm.weight",
        "norm.bias", "head.weight",
    }  # fmt: skip
    assert len(groups(convolution(0))) == 2
    assert groups(nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 2))) == []


def test_matching_lowers_the_distance_and_keeps_the_ends():
    one, other = convolution(0), convolution(1)
    x, y = torch.randn(40, 1, 6, 6), torch.arange(40) % 3
    plain = sd.path(one, other.state_dict(), F.cross_entropy, (x, y), points=3)
    found = sd.path(one, other.state_dict(), F.cross_entropy, (x, y), points=3, match=True)
    assert found.distance < 0.99 * found.unmatched
    assert found.unmatched == pytest.approx(plain.distance)
    assert np.allclose(found.losses[[0, -1]], plain.losses[[0, -1]], rtol=1e-4)
    assert found.moved > 0
    assert plain.moved == -1


def test_a_graph_that_cannot_be_read_is_named():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else x

    net = Branching()
    with pytest.raises(ValueError, match="Branching cannot be matched"):
        sd.path(net, Branching(), F.mse_loss, (torch.ones(4, 3), torch.ones(4, 3)), match=True)


# --- wrong input, and what is given back ---------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "spiral"}, "'spiral'; there are line"),
        ({"points": 1}, "3 at least"),
        ({"kind": "bezier", "bends": 2}, "a bezier has 1"),
        ({"kind": "bezier", "steps": 0}, "1 at least"),
        ({"other": Ring([-1.0, 0.0])}, "same point"),
        ({"other": torch.ones(3)}, "has 3 numbers"),
        ({"other": {"v": torch.ones(2)}}, "lacks 'w'"),
    ],
)
def test_wrong_input_is_one_sentence(change, said):
    given = {"other": torch.tensor([1.0, 0.0]), **change}
    with pytest.raises(ValueError, match=said):
        sd.path(Ring([-1.0, 0.0]), given.pop("other"), mean, factors([1.0] * 4), **given)


def test_a_state_dict_in_the_models_place_is_explained():
    with pytest.raises(TypeError, match="pass the model"):
        sd.path({"w": torch.ones(2)}, torch.ones(2), mean, factors([1.0]))


def test_dropout_on_the_way_is_said():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    other = {name: 2 * value for name, value in net.state_dict().items()}
    batch = torch.randn(20, 5), torch.arange(20) % 3
    found = sd.path(net, other, F.cross_entropy, batch, points=3)
    assert any("one draw" in note for note in found.notes)
    assert not sd.path(net.eval(), other, F.cross_entropy, batch, points=3).notes


def test_the_model_is_given_back():
    net = convolution(0).train()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    x, y = torch.randn(40, 1, 6, 6), torch.arange(40) % 3
    after = torch.get_rng_state()
    sd.path(net, convolution(1), F.cross_entropy, (x, y), kind="bezier", points=3, steps=3)
    torch.set_rng_state(random)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    assert len(after) == len(random)


# --- checkpoints ---------------------------------------------------------------------------------


def test_checkpoints_are_read_from_both_layouts_and_with_their_usual_wrappings(tmp_path):
    net = convolution(0)
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    torch.save({"epoch": 3, "model": net.state_dict()}, tmp_path / "b.pt")
    wrapped = {f"module.{k}": v for k, v in net.state_dict().items()}
    torch.save(wrapped, tmp_path / "c.pt")
    for name in ("a.safetensors", "b.pt", "c.pt"):
        other = convolution(1)
        set_state(other, load_state(tmp_path / name), name)
        assert all(torch.equal(v, other.state_dict()[k]) for k, v in net.state_dict().items())


def test_what_needs_pickle_or_does_not_fit_is_refused_with_a_sentence(tmp_path):
    net = convolution(0)
    torch.save(net, tmp_path / "whole.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    for name, said in (
        ("whole.pt", "pickle"), ("text.pt", "pickle"), ("cut.safetensors", "no whole"),
        ("none.pt", "no state dict"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said) as caught:
            load_state(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        load_state(tmp_path / "missing.pt")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"lacks 0\.weight"):
        set_state(net, Residual(0).state_dict(), "other.pt")
    wrong = {**before, "7.bias": torch.zeros(4)}
    with pytest.raises(ValueError, match=r"7\.bias is \(4,\)"):
        set_state(net, wrong, "other.pt")
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
