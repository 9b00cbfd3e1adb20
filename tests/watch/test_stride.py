"""Steps that are noted as they come tell the same as steps that are looked at one by one."""

import importlib
import math

import numpy as np
import pytest
import torch
from torch import nn

import sounding as sd
from sounding.watch.stride import Stride

observing = importlib.import_module("sounding.watch.observer")
STEPS = 150


@pytest.fixture
def even(monkeypatch):
    """Strides begin after 10 steps; the lengths of those that were settled."""
    lengths = []
    settle = observing.Observer._strode

    def settled(self, stride):
        lengths.append(len(stride.rows))
        settle(self, stride)

    for name, value in (("ALWAYS", 10), ("NORMS", 0.0), ("RING", 0.0)):
        monkeypatch.setattr(observing, name, value)
    monkeypatch.setattr(importlib.import_module("sounding.watch.pace"), "GRACE", 0.0)
    for name in ("record", "ring"):  # calls that are kept of the first steps, and of the last ones
        monkeypatch.setattr(importlib.import_module(f"sounding.watch.{name}"), "STEPS", 8)
    monkeypatch.setattr(observing.Observer, "_strode", settled)
    return lengths


class Script:
    """A training with something irregular at some steps, which writes its own book."""

    def __init__(self, net=None):
        torch.manual_seed(0)
        self.net = net or nn.Linear(4, 3)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
        self.loss, self.lr, self.backwards, self.bound, self.norm = [], [], [], [], []
        self.evaluated = []

    def run(self, *, each=lambda step: None):
        for step in range(STEPS):
            x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
            self.optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            self.optimizer.zero_grad()
            parts = 2 if step % 37 == 20 else 1
            losses = [nn.functional.cross_entropy(self.net(x), y) for _ in range(parts)]
            for loss in losses:
                loss.backward()
            self.bound.append(math.nan)
            self.norm.append(math.nan)
            if step % 3 == 0:
                norm = nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
                self.bound[-1], self.norm[-1] = 0.5, float(norm)
            self.optimizer.step()
            self.loss.append(sum(loss.item() for loss in losses) / parts)
            self.lr.append(0.1 / (1 + step))
            self.backwards.append(parts)
            if step % 50 == 30:
                with torch.no_grad():
                    held = nn.functional.cross_entropy(self.net(x), y)
                self.evaluated.append((step + 1, held.item()))
            each(step)


def test_every_column_is_what_the_script_itself_noted(even):
    script = Script()
    with sd.watch(script.net, script.optimizer, None, tests=False, overhead=1e-9) as seen:
        script.run()
    (record,) = seen._observer.records.values()
    course = record.course()
    assert sum(even) > STEPS / 2, "else this looks at nothing new"
    assert seen.steps == STEPS == record.count
    np.testing.assert_allclose(course.loss, script.loss, rtol=1e-6)
    np.testing.assert_array_equal(course.lr, script.lr)
    np.testing.assert_array_equal(course.backwards, script.backwards)
    np.testing.assert_array_equal(course.bound, script.bound)
    np.testing.assert_allclose(course.clipped_from, script.norm, rtol=1e-6)
    (held_out,) = record.held_out.result(put_back=record.put_back)
    np.testing.assert_allclose(np.c_[held_out.steps, held_out.loss], script.evaluated, rtol=1e-6)
    assert not record.put_back


def test_each_step_takes_as_long_as_it_does(even, monkeypatch):
    """By a clock that only the model's own work moves."""
    clock = [0.0]

    class Slow(nn.Linear):
        def forward(self, x):
            clock[0] += 2**-10  # exact in any sum
            return super().forward(x)

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    script = Script(Slow(4, 3))
    with sd.watch(script.net, script.optimizer, None, tests=False, every=1000) as seen:
        script.run()
    (record,) = seen._observer.records.values()
    passes = np.array(script.backwards) + np.isin(np.arange(STEPS) - 1, [30, 80, 130])
    np.testing.assert_array_equal(record.course().seconds[1:], passes[1:] / 1024)
    assert sum(even) > STEPS / 2


def test_steps_are_known_at_any_moment(even):
    script, known = Script(), []
    with sd.watch(script.net, script.optimizer, None, tests=False, overhead=1e-9) as seen:
        script.run(each=lambda s: known.append(seen.steps) if s % 7 == 0 else None)
    assert known == list(range(1, STEPS + 1, 7))
    assert sum(even) > STEPS / 2


def test_weights_that_are_put_back_after_the_last_step_are_noticed(even):
    script = Script()
    best = {}
    with sd.watch(script.net, script.optimizer, None, tests=False, overhead=1e-9) as seen:
        best.update({k: v.clone() for k, v in script.net.state_dict().items()})
        script.run()
        script.net.load_state_dict(best)
    (record,) = seen._observer.records.values()
    assert record.put_back
    assert sum(even) > STEPS / 2


def test_a_fixed_cadence_is_kept(even, tmp_path):
    script = Script()
    with sd.watch(script.net, script.optimizer, tmp_path / "run", tests=False, every=40) as seen:
        script.run()
    assert list(seen.examined) == [0, 40, 80, 120]


def test_a_stride_takes_only_what_belongs_to_an_even_step():
    net = nn.Linear(2, 1)
    mine, other = (torch.optim.SGD(net.parameters(), lr=0.5) for _ in range(2))
    waiting = importlib.import_module("sounding.capture.waiting").Waiting()
    stride, loss = Stride(mine, waiting, 2, 0.0), torch.tensor(3.0)
    assert not stride.clipped(loss, 1.0)  # before any backward
    assert not stride.stepped(mine)
    assert stride.lost(loss)
    assert not stride.lost(loss)  # a second backward
    assert stride.clipped(torch.tensor(7.0), 1.0)
    assert not stride.clipped(torch.tensor(7.0), 1.0)
    assert not stride.stepped(other)
    assert stride.stepped(mine)
    (row,) = stride.rows
    assert (row.loss, row.lr, row.backwards, float(row.clipped_from), row.bound) == (
        3,
        0.5,
        1,
        7,
        1,
    )
    assert stride.left == 1


def test_losses_without_end_make_no_noise():
    lapse = importlib.import_module("sounding.watch.lapse").Lapse()
    lapse.feed(np.array([4.0, 2.0] * 8 + [1.0] * 16))
    assert not lapse.now
    lapse.feed(np.array([np.inf, -np.inf] * 8))  # their mean is no number, and no lapse either
    assert not lapse.now
    lapse.feed(np.full(16, 2.5))  # of 3 to 1, more than half is lost again
    assert lapse.now
