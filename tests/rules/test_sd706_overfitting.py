"""SD706: held-out losses that rise again; drawn around curves of which the turn is known."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.measure.held_out import HeldOut
from sounding.result import NotApplicable
from sounding.rules.overfitting import overfitting
from sounding.watch.observer import Observer

EVERY, COUNT, STEPS = 10, 20, 200


def held(*levels, noise=0.02, seed=0, function="cross_entropy", copies=(), put_back=False):
    """Evaluations along straight lines between the levels."""
    curve = np.interp(np.linspace(0, 1, COUNT), np.linspace(0, 1, len(levels)), levels)
    return HeldOut(
        function=function,
        steps=EVERY * np.arange(1, COUNT + 1),
        loss=curve + np.random.default_rng(seed).normal(0, noise, COUNT),
        copies=np.array(copies, dtype=np.int64),
        put_back=put_back,
    )


def falling(end=0.05):
    loss = np.geomspace(2.3, end, STEPS)
    return loss * np.exp(np.random.default_rng(1).normal(0, 0.1, STEPS))


@pytest.fixture
def judge(ran):
    def take(one, loss=None):
        loss = falling() if loss is None else loss
        return overfitting(ran(loss=loss, constant=(2.3, 0.05), held_out=(one,)))

    return take


def test_the_turn_is_named(judge):
    found = judge(held(2.3, 0.8, 1.2, 1.6, 2.0, 2.0, 2.0, noise=0.01))
    assert (found.code, found.severity, found.remedies) == ("SD706", "caution", ())
    assert found.measured["best_step"] == pytest.approx(40, abs=10)
    assert found.measured["held_out_loss"] == pytest.approx(2.0, abs=0.05)
    assert found.expected["held_out_loss"] == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_chance(judge, noise):
    """Evaluations that fall and stay, however much they scatter, are none."""
    hits = sum(judge(held(2.3, 0.8, 0.8, 0.8, noise=noise, seed=k)) is not None for k in range(60))
    assert hits <= 2


def test_a_little_worse_is_no_harm(judge):
    assert judge(held(2.3, 0.8, 0.9, 1.3)) is None  # a third of what was known


@pytest.mark.parametrize(
    ("kept", "said"),
    [({"copies": [40, 50, 60, 70]}, "were copied"), ({"put_back": True}, "changed after the last")],
)
def test_who_comes_back_to_the_best_is_not_told(judge, kept, said):
    assert said in judge(held(2.3, 0.8, 1.2, 1.6, 2.0, 2.0, 2.0, noise=0.01, **kept))


def test_a_run_that_is_lost_as_a_whole_is_no_over_fitting(judge):
    loss = np.concatenate([falling(0.5)[:100], np.full(100, 2.0)])
    assert "does not fall on" in judge(held(2.3, 0.8, 2.0, 2.0, noise=0.01), loss)


def test_not_applicable(judge, ran):
    with pytest.raises(NotApplicable, match="fewer than"):
        judge(held(2.3, 0.8, 2.0, 2.0, function="mse_loss"))
    with pytest.raises(NotApplicable, match="beginning"):
        overfitting(ran(loss=np.ones(50)))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_evaluation_is_recorded_as_the_script_makes_it(reduction):
    """Two sets in batches of different sizes; the script's own numbers are the oracle."""
    torch.manual_seed(0)
    x, y = torch.randn(100, 4), torch.randint(0, 3, (100,))
    criterion, own = nn.CrossEntropyLoss(reduction=reduction), []
    observer = Observer()
    net = nn.Linear(4, 3)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    with observer.watching():
        observer.training.adopt([net], [optimiser])
        for step in range(12):
            optimiser.zero_grad()
            F.cross_entropy(net(x[:60]), y[:60]).backward()
            optimiser.step()
            if step % 3 == 2:
                for rows in ([slice(60, 80), slice(80, 90)], [slice(90, 100)]):
                    with torch.no_grad():
                        own.append(
                            np.mean([float(criterion(net(x[r]), y[r]).mean()) for r in rows])
                            if reduction != "sum"
                            else np.mean(
                                [
                                    float(criterion(net(x[r]), y[r])) / (r.stop - r.start)
                                    for r in rows
                                ]
                            )
                        )
    first, second = next(iter(observer.records.values())).held_out.result(put_back=False)
    assert list(first.steps) == list(second.steps) == [3, 6, 9, 12]
    np.testing.assert_allclose(first.loss, own[::2], rtol=1e-6)
    np.testing.assert_allclose(second.loss, own[1::2], rtol=1e-6)


def test_copies_and_weights_put_back_are_noticed():
    observer = Observer()
    with observer.watching():
        net = nn.Linear(4, 3)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(6):
            optimiser.zero_grad()
            net(torch.ones(2, 4)).sum().backward()
            optimiser.step()
            if step == 2:
                kept = {name: value.clone() for name, value in net.state_dict().items()}
        (record,) = observer.records.values()
        before = record.put_back
        net.load_state_dict(kept)
    assert record.held_out._copies == [3]
    assert (before, record.put_back) == (False, True)
