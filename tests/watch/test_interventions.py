"""Interventions on a watched loop, beside the same thing done by hand or in closed form."""

import contextlib
import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from sounding.measure.intervene import TESTS, Interventions
from sounding.measure.intervene.baseline import _kernel, explained_without
from sounding.train import seeded
from sounding.watch.observer import Observer


def data(n=512, classes=4, share=None):
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(0, classes, (n,), generator=generator)
    if share is not None:
        y = (torch.rand(n, generator=generator) < share).long()
    centres = 2 * torch.randn(classes, 8, generator=generator)
    return centres[y] + torch.randn(n, 8, generator=generator), y


def net(*, last=None, drop=0.0):
    parts = [nn.Linear(8, 32), nn.ReLU(), nn.Dropout(drop), nn.Linear(32, 4)]
    return nn.Sequential(*parts, *([last] if last else []))


def train(model, optimizer, xy, *, loss=F.cross_entropy, steps=60, size=32, zero=True):
    losses = []
    for step in range(steps):
        rows = torch.arange(step * size, (step + 1) * size) % len(xy[0])
        if zero:
            optimizer.zero_grad()
        value = loss(model(xy[0][rows]), xy[1][rows])
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    return np.array(losses)


def watched(make=net, *, xy=None, lr=0.1, optimizer=torch.optim.SGD, seed=0, **how):
    xy = data() if xy is None else xy
    torch.manual_seed(seed)
    observer = Observer()
    with observer.watching():
        model = make()
        losses = train(model, optimizer(model.parameters(), lr=lr), xy, **how)
    assert not observer.failures
    (record,) = observer.records.values()
    return Interventions(record.scene()), record, losses


def by_hand(*, lr, make=net, xy=None, optimizer=torch.optim.SGD, seed=0, **how):
    torch.manual_seed(seed)
    model = make()
    return train(model, optimizer(model.parameters(), lr=lr), data() if xy is None else xy, **how)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize(("name", "factor"), [("slower", 0.1), ("faster", 10.0)])
def test_a_fork_is_the_run_that_the_user_would_have_had(optimizer, name, factor):
    interventions, _, losses = watched(optimizer=optimizer, lr=0.01)
    fork = interventions.make(name)
    np.testing.assert_allclose(fork.curves["as_is"], losses, rtol=1e-5)
    other = by_hand(lr=0.01 * factor, optimizer=optimizer)
    np.testing.assert_allclose(fork.curves["changed"], other, rtol=1e-4)
    gap = losses[-15:] - other[-15:]
    assert fork["difference"] == pytest.approx(gap.mean(), rel=1e-3)
    assert fork["error"] == pytest.approx(gap.std(ddof=1) / math.sqrt(15), rel=1e-3)


def test_a_fork_casts_as_the_loop_did():
    def cast(model, x):
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    torch.manual_seed(0)
    observer, losses, (x, y) = Observer(), [], data()
    with observer.watching():
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(40):
            rows = torch.arange(32 * step, 32 * step + 32) % 512
            optimizer.zero_grad()
            value = F.cross_entropy(cast(model, x[rows]).float(), y[rows])
            value.backward()
            optimizer.step()
            losses.append(float(value.detach()))
    (record,) = observer.records.values()
    fork = Interventions(record.scene()).make("slower")
    np.testing.assert_allclose(fork.curves["as_is"], losses, rtol=1e-5)


def test_a_model_that_was_cast_afterwards_is_begun_again_as_it_was():
    make = lambda: net().to(torch.float64)  # noqa: E731
    x, y = data()
    interventions, record, losses = watched(make, xy=(x.double(), y))
    record.model.float()
    np.testing.assert_allclose(interventions.make("slower").curves["as_is"], losses, rtol=1e-8)
    assert record.model[0].weight.dtype == torch.float32


def test_missing_zero_grad_is_repeated_in_the_fork_and_cured_in_the_other_arm():
    interventions, record, losses = watched(zero=False, lr=0.02)
    fork = interventions.make("fresh_gradients")
    np.testing.assert_allclose(fork.curves["as_is"], losses, rtol=1e-4)
    np.testing.assert_allclose(fork.curves["changed"], by_hand(lr=0.02), rtol=1e-4)
    assert (record.course().carried[1:] > 0).all()


def test_a_run_that_explodes_is_infinitely_worse():
    interventions, _, _ = watched(lr=30.0, loss=lambda o, y: F.mse_loss(o, F.one_hot(y, 4).float()))
    assert interventions.make("much_slower")["difference"] == math.inf


# No regression, no table, no parameter outside of the optimiser.
NOTHING_TO_DO = ("mirrored", "scaled_targets", "visits", "adopted", "widened", "answers", "memory")


@pytest.mark.parametrize("name", TESTS)
def test_everything_is_given_back(name):
    torch.manual_seed(0)
    model = nn.Sequential(net(drop=0.3), nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    observer = Observer()
    with observer.watching():
        train(model, optimizer, data(), steps=20)
    (record,) = observer.records.values()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    moments = [v["exp_avg_sq"].clone() for v in optimizer.state.values()]
    grads = [p.grad for p in model.parameters()]
    drawn = torch.get_rng_state()
    test = Interventions(record.scene()).make(name)
    assert not test.failed or name in NOTHING_TO_DO
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    kept = [v["exp_avg_sq"] for v in optimizer.state.values()]
    assert all(map(torch.equal, kept, moments))
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert model.training
    assert F.dropout.__module__ == "torch.nn.functional"


# -- the best constant -----------------------------------------------------------------------------


@pytest.mark.parametrize("last", [None, nn.Sigmoid(), nn.ReLU()])
def test_the_best_constant_of_the_squared_error_is_the_mean(last):
    x = data()[0]
    target = 0.2 + 0.6 * torch.rand(512, 4, generator=torch.Generator().manual_seed(2))
    interventions, record, _ = watched(
        lambda: net(last=last), xy=(x, target), loss=F.mse_loss, lr=0.01
    )
    kept = torch.cat([target[(s * 32 + torch.arange(32)) % 512] for s in range(0, 60, 3)][:16])
    found = interventions.make("constant")
    want = float(target.var(0, correction=0).mean())
    assert found["constant_loss"] == pytest.approx(want, rel=0.05)
    assert len(record.steps) == 60
    assert len(kept) == 512


def test_the_best_constant_of_cross_entropy_is_the_entropy_of_the_labels():
    xy = data(share=0.1, classes=4)
    interventions, _, losses = watched(xy=xy)
    p = float(xy[1].float().mean())
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    found = interventions.make("constant")
    assert found["constant_loss"] == pytest.approx(entropy, rel=0.1)
    assert found["start_loss"] == pytest.approx(losses[0], rel=0.1)
    assert found["now_loss"] < 0.5 * entropy
    assert found["learned"] > 3


def test_the_best_constant_before_a_sigmoid_that_stands_in_the_loop():
    """Four sigmoids against one label in four: 1/4 x 3/4; with a second sigmoid it were 1/4."""

    def loss(output, y):
        return (torch.sigmoid(output) - F.one_hot(y, 4)).square().mean()

    found = watched(loss=loss, lr=0.01)[0].make("constant")
    assert found["constant_loss"] == pytest.approx(0.25 * 0.75, rel=0.02)


@pytest.mark.parametrize("inside", [True, False])
def test_grey_targets_leave_a_floor(inside):
    """Perfect predictions of t cost -t log t - (1 - t) log(1 - t): by hand, over all targets."""
    x = data()[0]
    target = torch.rand(512, 4, generator=torch.Generator().manual_seed(2))
    bce = F.binary_cross_entropy if inside else F.binary_cross_entropy_with_logits
    make = lambda: net(last=nn.Sigmoid() if inside else None)  # noqa: E731
    found = watched(make, xy=(x, target), loss=bce, lr=0.01)[0].make("constant")
    entropy = -(target * target.log() + (1 - target) * (1 - target).log()).mean()
    assert found["floor"] == pytest.approx(float(entropy), rel=1e-3)
    hard = watched(xy=(x, (target > 0.5).float()), loss=F.binary_cross_entropy_with_logits)
    assert hard[0].make("constant")["floor"] < 1e-4


def test_the_floor_of_an_autoencoder_is_that_of_its_inputs():
    x = data()[0].sigmoid()
    make = lambda: nn.Linear(8, 8)  # noqa: E731
    bce = F.binary_cross_entropy_with_logits
    torch.manual_seed(0)
    observer = Observer()
    with observer.watching():
        model = make()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(20):
            rows = x[32 * step % 512 :][:32]
            optimizer.zero_grad()
            bce(model(rows), rows).backward()
            optimizer.step()
    (record,) = observer.records.values()
    found = Interventions(record.scene()).make("constant")
    entropy = -(x * x.log() + (1 - x) * (1 - x).log())
    assert found["floor"] == pytest.approx(float(entropy.mean()), rel=0.02)


SHAPES = [
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 4)), (6, 4), -1),
    (lambda: nn.Sequential(nn.Conv1d(6, 4, 4), nn.Flatten()), (6, 4), 1),
    (lambda: nn.Sequential(nn.Conv2d(6, 4, 2), nn.Flatten()), (6, 2, 2), 1),
    (lambda: nn.Linear(24, 4), (24,), -1),
]


@pytest.mark.parametrize(("make", "shape", "along"), SHAPES)
def test_a_fork_standardises_channel_by_channel(make, shape, along):
    """One loud channel, or feature; beside the run on data that were standardised by hand."""
    x = torch.randn(512, *shape, generator=torch.Generator().manual_seed(3))
    loud = x.movedim(along, -1)
    loud[..., 2] = 50 + 30 * loud[..., 2]
    loud = loud.flatten(0, -2)
    y = data()[1]
    interventions, _, losses = watched(make, xy=(x, y), lr=1e-3, steps=16)
    fork = interventions.make("standardised")
    np.testing.assert_allclose(fork.curves["as_is"], losses, rtol=1e-4)
    z = ((x.movedim(along, -1) - loud.mean(0)) / loud.std(0)).movedim(-1, along)
    np.testing.assert_allclose(
        fork.curves["changed"], by_hand(lr=1e-3, make=make, xy=(z, y), steps=16), rtol=1e-3
    )


# -- models that are called in parts ---------------------------------------------------------------


class Coder(nn.Module):
    """Has no forward pass of its own: the loop calls its parts."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 16), nn.Tanh())
        self.head = nn.Linear(16, 4)


def coded(lr, *, observer=None, steps=60):
    torch.manual_seed(0)
    x, y = data()
    with observer.watching() if observer else contextlib.nullcontext():
        model = Coder()
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        losses = []
        for step in range(steps):
            rows = torch.arange(32 * step, 32 * step + 32) % 512
            optimizer.zero_grad()
            loss = F.cross_entropy(model.head(2 * model.encoder(x[rows])), y[rows])
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return np.array(losses)


def test_a_fork_of_a_model_that_is_called_in_parts():
    observer = Observer()
    losses = coded(0.01, observer=observer)
    assert not observer.failures
    (record,) = observer.records.values()
    assert [c.name for c in record.readings[0].calls if c.weight] == ["encoder.0", "head"]
    interventions = Interventions(record.scene())
    fork = interventions.make("slower")
    np.testing.assert_allclose(fork.curves["as_is"], losses, rtol=1e-5)
    np.testing.assert_allclose(fork.curves["changed"], coded(0.001), rtol=1e-4)
    found = interventions.make("constant")
    shares = data()[1].bincount() / 512
    assert found["constant_loss"] == pytest.approx(float(-(shares * shares.log()).sum()), rel=0.02)
    assert interventions.make("mixing")["eval"] == 0


def test_copies_are_counted_in_the_stored_batches():
    x, y = data()
    assert watched(xy=(x, y))[0].make("copies")["copies"] == 1
    twice = torch.cat([torch.arange(16 * k, 16 * k + 16).repeat(2) for k in range(16)])
    found = watched(xy=(x[twice], y[twice]))[0].make("copies")
    assert (found["rows"], found["copies"]) == (32, 2)
    other = y[twice].clone()
    other[::32] = (other[::32] + 1) % 4  # one sample of a batch has two targets
    assert watched(xy=(x[twice], other))[0].make("copies")["copies"] == 1


def test_a_loss_without_a_minimum_has_no_best_constant():
    interventions, _, _ = watched(loss=lambda o, y: -F.cross_entropy(o, y), lr=0.01)
    assert "no minimum" in interventions.make("constant").failed


# -- what an output depends on ---------------------------------------------------------------------


def test_batch_norm_mixes_samples_in_training_only():
    make = lambda: nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))  # noqa: E731
    mixing = watched(make)[0].make("mixing")
    assert mixing["eval"] == 0
    assert mixing["train"] > 0.01


def test_a_softmax_over_the_batch_mixes_samples_always():
    make = lambda: net(last=nn.LogSoftmax(0))  # noqa: E731
    mixing = watched(make, loss=F.nll_loss)[0].make("mixing")
    assert mixing["eval"] > 0.01


@pytest.mark.parametrize("step", [1, -1])
def test_mixing_that_runs_one_way_along_the_batch(step):
    """x + 3 times the sample before, or behind it; by hand, over the halves' own deviations."""

    class Neighbour(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            other = x.roll(step, 0)
            other[0 if step == 1 else -1] = 0
            return self.head(x + 3 * other)

    interventions, record, _ = watched(Neighbour, steps=4)
    x, model = record.steps[0].args[0], record.model
    changes = []
    for own in (torch.arange(16), torch.arange(16, 32)):
        with torch.no_grad():
            before, after = model(x)[own], model(x[own].repeat(2, 1))[own]
        changes.append(float((before - after).square().mean().sqrt() / before.std()))
    assert min(changes) == 0 < max(changes)
    assert interventions.make("mixing")["eval"] == pytest.approx(max(changes), rel=1e-4)


def test_redrawn_is_the_run_from_torchs_own_weights():
    def large():
        model = net()
        for p in model.parameters():
            torch.nn.init.normal_(p, std=20.0)
        return model

    fork = watched(large, lr=0.01)[0].make("redrawn")
    assert fork["as_is"] > 1.0
    assert fork["changed"] < 0.8
    again = watched(lr=0.01)[0].make("redrawn")
    assert again["changed"] == pytest.approx(fork["changed"], rel=1e-5)  # nothing else is left


def test_redrawn_tables_have_vectors_of_length_one_and_frozen_layers_stay():
    def table():
        model = nn.Sequential(nn.Embedding(200, 64), nn.Linear(64, 4))
        model[0].weight.data.fill_(7.0)
        model[1].requires_grad_(False)
        return model

    from sounding.measure.intervene.redrawing import redrawn

    ids = torch.randint(0, 200, (512,), generator=torch.Generator().manual_seed(0))
    _, record, _ = watched(table, xy=(ids, ids % 4), steps=4)
    kept = record.model[1].weight.clone()
    with record.scene().kept(), redrawn(record.scene()):
        lengths = record.model[0].weight.detach().norm(dim=1)
        assert lengths.mean() == pytest.approx(1.0, abs=0.05)
        assert torch.equal(record.model[1].weight, kept)


def test_evened_gives_all_groups_the_highest_rate():
    def two(parameters, lr):
        first, *rest = parameters
        groups = [{"params": [first], "lr": lr * 1e-6}, {"params": rest}]
        return torch.optim.SGD(groups, lr=lr)

    fork = watched(optimizer=two, lr=0.1)[0].make("evened")
    plain = by_hand(lr=0.1)
    np.testing.assert_allclose(fork.curves["changed"], plain, rtol=1e-4)
    assert abs(fork.curves["as_is"][-1] - plain[-1]) > 1e-3


def test_in_training_is_the_run_in_training_mode():
    def normed():
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))

    fork = watched(lambda: normed().eval())[0].make("in_training")
    np.testing.assert_allclose(fork.curves["changed"], by_hand(lr=0.1, make=normed), rtol=1e-4)
    assert abs(fork["difference"]) > 1e-3


@pytest.mark.parametrize(
    ("shape", "along"),
    [
        (lambda o: o.transpose(1, 2), True),
        (lambda o: o.reshape(o.shape[0], o.shape[2], o.shape[1]), False),
    ],
)
def test_pull_of_a_cross_entropy_cancels_over_the_classes(shape, along):
    def tags():
        return nn.Sequential(nn.Embedding(9, 16), nn.Linear(16, 5))

    ids = torch.randint(0, 9, (512, 6), generator=torch.Generator().manual_seed(0))
    loss = lambda o, y: F.cross_entropy(shape(o), y)  # noqa: E731
    pull = watched(tags, xy=(ids, ids % 5), loss=loss, steps=8)[0].make("pull")
    assert (pull["along"] < 1e-5) == along
    assert (pull["reshaped"] < 1e-5) != along
    assert pull["rows"] == 1


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(("tags", "padded"), [("mixed", 0.0), ("last", 1.0), ("half", 0.5)])
def test_pull_tells_the_label_that_is_left_out(flat, tags, padded):
    """Of six places label 2 has the middle one, the last two, or both of these thirds of a one."""
    at = {"mixed": [2], "last": [4, 5], "half": [2, 5]}[tags]
    ids = torch.randint(0, 9, (512, 6), generator=torch.Generator().manual_seed(0))
    labels = 3 + ids % 2
    labels[:, at] = 2

    def loss(output, target):
        if flat:
            return F.cross_entropy(output.flatten(0, 1), target.flatten(), ignore_index=2)
        return F.cross_entropy(output.transpose(1, 2), target, ignore_index=2)

    table = lambda: nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 5))  # noqa: E731
    pull = watched(table, xy=(ids, labels), loss=loss, steps=8)[0].make("pull")
    assert (pull["ignored"], pull["padded"]) == (2, padded)
    assert pull["share"] == pytest.approx(len(at) / 6)
    assert pull["largest"] == pytest.approx(float((labels[:256] == 3).float().mean()))


def test_pull_finds_no_label_left_out_where_all_count():
    assert "ignored" not in watched()[0].make("pull").values
    one = lambda o, y: F.cross_entropy(o[:3], y[:3])  # noqa: E731
    assert "ignored" not in watched(loss=one, steps=8)[0].make("pull").values


def test_pull_at_some_samples_only():
    loss = lambda o, y: F.cross_entropy(o[:3], y[:3])  # noqa: E731
    assert watched(loss=loss)[0].make("pull")["rows"] == pytest.approx(3 / 32)


@pytest.mark.parametrize("decay", [0.2, 0.4])
def test_memory_of_a_linear_recurrence(decay):
    """s <- decay s + x: the derivative for place t is decay^(T - 1 - t) of the last one's."""

    class Leaky(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x):
            state = torch.zeros(len(x), 1)
            for column in x.unbind(1):
                state = decay * state + column
            return self.gain * state

    x = torch.randn(512, 12, 1, generator=torch.Generator().manual_seed(0))
    memory = watched(Leaky, xy=(x, x[:, 0]), loss=F.mse_loss, steps=12)[0].make("memory")
    first = [decay ** (2 * (11 - t)) for t in range(3)]
    assert memory["log_gain"] == pytest.approx(0.5 * math.log(np.mean(first)), rel=1e-4)
    assert memory["unreached"] == sum(decay ** (11 - t) < math.exp(-6) for t in range(12))
    assert memory["far"] > 0.8
    assert memory["near"] < 0.1


@pytest.mark.parametrize("rows", [0, 1, 5, 32, 64])
def test_repeat_in_parts_as_small_as_the_evaluations(rows):
    """By hand: five samples at a time, the last ones with the first three of the batch."""
    make = lambda: nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))  # noqa: E731
    _, record, _ = watched(make, steps=4)
    scene = dataclasses.replace(record.scene(), evaluated=rows)
    found = Interventions(scene).make("repeat")
    assert ("parts_gap" in found.values) == (rows == 5)
    if rows == 5:
        x, y = (t[:128].split(32) for t in data())
        losses = []
        for one, labels in zip(x, y, strict=True):
            record.model.train()
            parts = torch.cat([one, one[:3]]).split(5)
            output = torch.cat([record.model(part) for part in parts])[:32]
            losses.append(float(F.cross_entropy(output.detach(), labels)))
        assert found["eval_loss"] + found["parts_gap"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_repeat_tells_dropout_in_evaluation_from_dropout_in_training():
    class Always(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5)

    always = lambda: nn.Sequential(nn.Linear(8, 32), Always(), nn.Linear(32, 4))  # noqa: E731
    assert watched(always)[0].make("repeat")["difference"] > 0.1
    healthy = watched(lambda: net(drop=0.5))[0].make("repeat")
    assert healthy["difference"] == 0
    assert healthy["gap"] > 3 * healthy["gap_error"]


def test_recall_of_a_class_that_is_never_predicted():
    classes = watched(xy=data(share=0.03), lr=1e-4)[0].make("classes")
    assert classes["minority_recall"] < 0.5
    assert classes["minority_share"] == pytest.approx(0.03, abs=0.02)


# -- labels, slopes, curvature ---------------------------------------------------------------------


def test_labels_that_are_shuffled_carry_no_information():
    x, y = data(n=4096)
    true = watched(xy=(x, y), optimizer=torch.optim.Adam, lr=0.01)[0].make("labels")
    assert true["z_fresh"] > 10
    mixed = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(3))]
    found = watched(xy=(x, mixed), optimizer=torch.optim.Adam, lr=0.01)[0].make("labels")
    assert abs(found["z_fresh"]) < 3
    assert found["z_fit"] > 3


def test_labels_are_not_judged_by_a_net_that_diverges():
    assert "NaN or Inf" in watched(xy=data(n=4096), lr=1e30)[0].make("labels").failed


def test_the_noise_scale_is_that_of_the_batches_gradients():
    interventions, record, _ = watched(lr=1e-6)
    found = interventions.make("noise")
    model, xy = record.model, data()
    rows = [(s * 32 + torch.arange(32)) % 512 for s in range(16)]
    parts = []
    for row in rows:
        grads = torch.autograd.grad(
            F.cross_entropy(model(xy[0][row]), xy[1][row]), model.parameters()
        )
        parts.append(torch.cat([g.flatten() for g in grads]).double())
    stack = torch.stack(parts)
    assert found["variance"] == pytest.approx(float(stack.var(0).sum()), rel=1e-4)
    want = float(stack.mean(0).pow(2).sum()) - float(stack.var(0).sum()) / 16
    assert found["signal"] == pytest.approx(want, rel=1e-3)


def noise():
    """(4096, 32) inputs, and targets that have nothing to do with them."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(4096, 32, generator=generator), torch.randn(4096, 1, generator=generator)


@pytest.mark.parametrize(("lr", "wins"), [(0.08, True), (0.0005, False)])
def test_many_batches_a_step_win_where_single_ones_wander(lr, wins):
    """Long steps wander about the minimum, those on a mean of 16 batches less; short ones do not.

    On batches that were held back, learning the others by heart wins nothing.
    """
    make = lambda: nn.Linear(32, 1)  # noqa: E731
    interventions, _, _ = watched(make, xy=noise(), loss=F.mse_loss, lr=lr, size=4, steps=200)
    found = interventions.make("denoised")
    assert found["held"] == 16
    assert (found["difference"] > 3 * found["error"]) == wins
    if wins:
        assert found["changed"] == pytest.approx(1.0, rel=0.5)  # the noise of the targets


@pytest.mark.parametrize("name", ["undecayed_unseen", "redrawn_unseen"])
def test_samples_held_out_are_not_learnt_by_heart(name):
    """64 noisy samples of 48 numbers, seen 32 times; the same training of three quarters by hand.

    A net that is fitted to them knows the noise, and does worse than nothing on the others. Decay
    of 1 in plain descent leaves ridge regression's solution, which is nearly nothing.
    """
    x, y = (t[:64] for t in noise())
    x = torch.cat([x, x.roll(1, 0)[:, :16]], 1)
    torch.manual_seed(0)
    observer = Observer()
    with observer.watching():
        model = nn.Linear(48, 1)
        first = {k: v.clone() for k, v in model.state_dict().items()}
        decay = 4.0 if name == "undecayed_unseen" else 0.0
        optimiser = torch.optim.SGD(model.parameters(), lr=0.02, weight_decay=decay)
        train(model, optimiser, (x, y), loss=F.mse_loss, steps=200)
    (record,) = observer.records.values()
    found = Interventions(record.scene()).make(name)
    assert found["samples"] == 16

    mixed = random.Random(0)
    order = [row.numpy().tobytes() for row in x]
    held = set(mixed.sample(order, 16))
    fresh = torch.tensor([mark in held for mark in order])
    for at, decayed in (("as_is", decay), ("changed", 0.0)):
        model.load_state_dict(first)
        if at == "changed" and name == "redrawn_unseen":
            with seeded(0):
                model.reset_parameters()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.02, weight_decay=decayed)
        for step in range(200):
            rows = torch.arange(32) + 32 * (step % 2)
            kept = rows[~fresh[rows]]
            rows = kept[torch.arange(32) % len(kept)]
            optimiser.zero_grad()
            F.mse_loss(model(x[rows]), y[rows]).backward()
            optimiser.step()
        with torch.no_grad():
            assert found[at] == pytest.approx(_twice(model, x, y, fresh), rel=1e-4)
    if name == "undecayed_unseen":
        assert found["changed"] > 1.2 * found["as_is"]


def _twice(model, x, y, fresh):
    """The mean loss of the chosen rows of both batches, each filled up with its own again."""
    total, count = 0.0, 0
    for batch in (torch.arange(32), torch.arange(32, 64)):
        own = batch[fresh[batch]]
        rows = own[torch.arange(32) % len(own)]
        total += len(own) * float(F.mse_loss(model(x[rows]), y[rows]))
        count += len(own)
    return total / count


def test_stability_of_a_quadratic_is_known():
    x = torch.randn(2048, 8, generator=torch.Generator().manual_seed(4))
    y = x @ torch.ones(8, 1)
    make = lambda: nn.Linear(8, 1, bias=False)  # noqa: E731
    interventions, _, _ = watched(make, xy=(x, y), loss=F.mse_loss, lr=0.1)
    rows = x[:256]
    sharpness = float(torch.linalg.eigvalsh(2 * rows.T @ rows / len(rows))[-1])
    found = interventions.make("stability")
    assert found["start"] == pytest.approx(0.1 * sharpness / 2, rel=0.03)
    assert found["end"] == pytest.approx(0.1 * sharpness / 2, rel=0.03)


def test_a_saddle_has_negative_curvature():
    interventions, record, _ = watched(lr=1e-8)
    with torch.no_grad():
        for p in record.model.parameters():
            p.zero_()
        record.model[0].weight.normal_(0, 1e-2)
        record.model[3].weight.normal_(0, 1e-2)
    found = interventions.make("saddle")
    assert found["smallest"] < -3 * found["residual"]
    assert found["largest"] > 0


# -- yardsticks ------------------------------------------------------------------------------------


def test_a_training_and_its_replay_are_the_same():
    interventions, _, losses = watched(lr=0.1)
    replayed = interventions.make("replayed")
    np.testing.assert_allclose(replayed.curves["as_is"], losses, rtol=1e-6)
    np.testing.assert_allclose(replayed.curves["changed"], losses, rtol=1e-5)
    assert abs(replayed["difference"]) < 1e-6


def linear(noise):
    """y = x w + noise, with |w| = 1: 1 / (1 + noise^2) of the variance can be explained."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1024, 8, generator=generator)
    w = torch.full((8, 1), 8**-0.5)
    return x, x @ w + noise * torch.randn(1024, 1, generator=generator)


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_a_simple_regression_explains_what_can_be_explained(noise):
    found = watched(lambda: nn.Linear(8, 1), xy=linear(noise), loss=F.mse_loss, lr=1e-3)[0].make(
        "baseline"
    )
    assert found["explained"] == pytest.approx(1 / (1 + noise**2), abs=4 * found["error"])
    assert found["error"] < 0.1
    assert found["samples"] == 512


def test_a_simple_regression_on_noise_explains_nothing():
    x, _ = linear(0.0)
    y = torch.randn(1024, 1, generator=torch.Generator().manual_seed(5))
    found = watched(lambda: nn.Linear(8, 1), xy=(x, y), loss=F.mse_loss, lr=1e-3)[0]
    assert found.make("baseline")["explained"] < 0.05


def test_leave_one_out_is_that():
    """The closed form against fits without the sample, one by one."""
    x, y = (t.double().numpy()[:40] for t in linear(0.5))
    kernel, ridge = _kernel(x), 0.1 * np.trace(_kernel(x)) / 40
    errors = []
    for i in range(40):
        rest = np.arange(40) != i
        fit = np.linalg.solve(kernel[np.ix_(rest, rest)] + ridge * np.eye(39), (y - y.mean())[rest])
        errors.append(float((y - y.mean())[i, 0] - kernel[i, rest] @ fit[:, 0]))
    spread = (y - y.mean()) ** 2
    np.testing.assert_allclose(
        explained_without(*np.linalg.eigh(kernel), y, ridge),
        (spread[:, 0] - np.square(errors)) / spread.mean(),
    )


def test_a_loss_that_falls_without_end_has_a_mirror():
    def likelihood(output, target):
        return (-0.5 * (output - target).square()).mean()

    x, y = linear(0.0)
    train = {"xy": (x, y), "lr": 1e-3, "steps": 40}
    upside_down = watched(lambda: nn.Linear(8, 1), loss=likelihood, **train)[0]
    assert "no minimum" in upside_down.make("constant").failed
    level = upside_down.make("mirrored")["mirrored_loss"]
    assert level == pytest.approx(0.5 * float(y[:1024].var(correction=0)), rel=0.1)
    right = watched(lambda: nn.Linear(8, 1), loss=lambda o, t: -likelihood(o, t), **train)[0]
    assert "has a minimum" in right.make("mirrored").failed


def test_widened_is_the_training_in_float32_and_gives_the_weights_back():
    """By hand: the first weights as bfloat16 has them, turned into float32, on the same inputs."""
    xy = data()
    half = (xy[0].bfloat16(), xy[1])

    def loss(output, target):
        return F.cross_entropy(output.float(), target)

    made, record, losses = watched(lambda: net().bfloat16(), xy=half, lr=1e-3, loss=loss)
    before = {n: p.detach().clone() for n, p in record.model.named_parameters()}
    test = made.make("widened")
    wide = by_hand(
        make=lambda: net().bfloat16().float(), xy=(half[0].float(), xy[1]), lr=1e-3, loss=loss
    )
    np.testing.assert_allclose(
        test.curves["changed"], wide[: len(test.curves["changed"])], rtol=1e-4
    )
    np.testing.assert_allclose(test.curves["as_is"], losses[: len(test.curves["as_is"])], rtol=1e-6)
    for name, p in record.model.named_parameters():
        assert p.dtype == torch.bfloat16
        assert torch.equal(p, before[name])


def test_a_net_that_was_turned_into_another_precision_is_judged_in_its_own():
    half = (data()[0].bfloat16(), data()[1])

    def loss(output, target):
        return F.cross_entropy(output.float(), target)

    made, record, _ = watched(lambda: net().bfloat16(), xy=half, loss=loss)
    record.model.float()
    assert made.make("constant")["now_loss"] < made.make("constant")["constant_loss"]
    assert all(p.dtype == torch.float32 for p in record.model.parameters())


def test_what_is_made_again_inside_of_backward_is_no_call():
    """Checkpoints call parts of the model in backward: nothing is begun there, nothing stays."""
    torch.manual_seed(0)
    x, y = data()
    stacks, observer = [], Observer()
    with observer.watching():
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(6):
            rows = slice(32 * step, 32 * step + 32)
            optimizer.zero_grad()
            hidden = checkpoint(model[0], x[rows], use_reentrant=False)
            F.cross_entropy(model[3](torch.relu(hidden)), y[rows]).backward()
            optimizer.step()
            stacks.append(_get_current_function_mode_stack())
    assert not observer.failures
    assert stacks == [[]] * 6
    (record,) = observer.records.values()
    assert len(record.steps) == 6
    assert all(step.called is model[0] for step in record.steps)
