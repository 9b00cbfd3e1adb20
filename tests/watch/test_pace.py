"""The budget of watching, by a clock that stands where the test puts it."""

import pytest

from sounding.watch import pace
from sounding.watch.pace import GRACE, SHARE, WAY, WHOLE, Pace


class Clock:
    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def allowed(clock, account, spent):
    """Whether an examination is due after so many seconds of examining in a run of 100 s."""
    clock.now = 100 - spent
    account.passed(0.0, [0.001], clock.now)
    clock.now = 100.0
    account.looked(0.0)  # all that is above a usual step was spent
    return account.due(1, wanted=True, rare=False)


@pytest.mark.parametrize(("spent", "due"), [(0.98, True), (1.02, False)])
def test_examinations_take_their_fraction_of_the_time_beside_the_grace(clock, spent, due):
    account = Pace((1.0 - GRACE) / 100, None)  # 1 s in all of 100 s
    assert allowed(clock, account, spent) == due


def test_plain_steps_cost_what_is_timed_and_what_is_not(clock):
    account = Pace(0.01, None)
    clock.now = 100.0
    account.passed(0.5, [1.0] * 100, 100.0)
    assert account.overhead() == pytest.approx((WHOLE * 0.5 + WAY * 100) / 100)
    cost = WHOLE * 0.5 + WAY * 100
    assert account.affords(1.02 * cost / (1.0 + GRACE))
    assert not account.affords(0.98 * cost / (1.0 + GRACE))


def test_rare_examinations_have_a_share_that_plain_steps_cannot_use_up(clock):
    account = Pace(0.01, None)
    clock.now = 100.0
    account.passed(10.0, [1.0] * 100, 100.0)  # 16 s, of 1.25 s
    assert not account.due(1, wanted=True, rare=False)
    assert account.due(1, wanted=True, rare=True)
    clock.now += 1.0 + 1.1 * SHARE * (0.01 * 101.4 + GRACE)
    account.looked(0.0)
    assert not account.due(2, wanted=True, rare=True)


def test_the_budget_is_that_of_the_usual_step(clock):
    account = Pace(None, None)
    account.passed(0.0, [0.0099], 1.0)
    assert account.budget == 0.03
    account.passed(0.0, [0.5] * 15 + [0.0101] * 17, 2.0)  # the median of the last 32
    assert account.budget == 0.01


def test_a_stride_ends_before_the_next_step_of_a_fixed_cadence(clock):
    account = Pace(None, 10)
    assert account.stride(1, wanted=True) == 0  # how long a step takes is not known yet
    account.passed(0.0, [0.001], 1.0)
    assert account.stride(1, wanted=True) == 9
    assert account.stride(1, wanted=False) == 64
    account.passed(0.0, [0.01] * 32, 2.0)
    assert account.stride(1, wanted=False) == 10  # a tenth of a second


def test_what_torch_loads_at_the_first_step_is_not_spent(clock):
    account = Pace(0.01, None)
    clock.now = 5.0
    account.looked(0.1)  # of 5 s
    assert account.due(1, wanted=True, rare=False)
    account.looked(0.3)
    assert not account.due(2, wanted=True, rare=False)
