"""Searches on functions whose minimum is known, without any training."""

import math

import numpy as np
import pytest

from sounding.train.search import Search

LR = {"lr": (1e-3, 1e1)}


def searched(score, space, first, *, trials=20, seed=0):
    search = Search(space, first, trials=trials, seed=seed)
    for number in range(trials):
        if number == trials // 2:
            search.focus()
        search.tell(score(search.ask()))
    return search


def at(lr):
    """A parabola over the decades, with its minimum at `lr`."""
    return lambda settings: math.log10(settings["lr"] / lr) ** 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lr", [0.005, 0.04, 0.7])
def test_the_minimum_is_found_within_a_quarter(lr, seed):
    """Twenty even values over four decades would come within 26 % at worst."""
    search = searched(at(lr), LR, {"lr": 0.1}, seed=seed)
    assert search.tried[search.best]["lr"] == pytest.approx(lr, rel=0.25)
    assert (search.space, search.edge_note()) == (LR, "")


def test_the_second_half_looks_within_half_a_decade_of_the_best_of_the_first():
    space = LR | {"eps": (1e-8, 1e-1)}
    search = searched(at(0.04), space, {"lr": 0.1, "eps": 1e-8})
    best = min((tried["lr"] for tried in search.tried[:10]), key=lambda lr: at(0.04)({"lr": lr}))
    later = np.array([tried["lr"] for tried in search.tried[10:]])
    assert (np.abs(np.log10(later / best)) < 0.505).all()


def test_it_begins_with_the_first_setting_and_then_with_even_learning_rates():
    space = LR | {"momentum": (0.0, 0.99)}
    search = searched(at(1), space, {"lr": 0.1, "momentum": 0.9}, trials=18)
    rates = [tried["lr"] for tried in search.tried[:7]]
    assert rates[0] == 0.1
    decades = np.sort(np.log10(rates))
    assert np.diff(decades) == pytest.approx([4 / 7] * 6, abs=0.01)
    assert {tried["momentum"] for tried in search.tried[:7]} == {0.9}
    assert len({tried["momentum"] for tried in search.tried[7:]}) > 5


@pytest.mark.parametrize(("lr", "bounds"), [(1e-5, (1e-4, 1e1)), (1e4, (1e-3, 1e2))])
def test_the_space_is_widened_by_a_decade_on_the_side_of_the_best(lr, bounds):
    search = searched(at(lr), LR, {"lr": 0.1}, trials=16)
    assert search.space["lr"] == pytest.approx(bounds)
    assert "at the edge again" in search.edge_note()
    inside = [tried["lr"] for tried in search.tried[:8]]
    assert 1e-3 <= min(inside) <= max(inside) <= 1e1
    middle = math.sqrt(10) * (bounds[0] if lr < 1 else bounds[1] / 10)
    assert search.tried[8]["lr"] == pytest.approx(middle, rel=0.01)


def test_where_every_trial_diverged_the_decade_below_is_left():
    search = searched(lambda _: math.inf, LR, {"lr": 0.1}, trials=12)
    assert {tried["lr"] <= 1.01e-3 for tried in search.tried[6:]} == {True}
    assert search.edge_note() == "every trial diverged, at every learning rate"


def test_a_single_value_has_no_edge():
    search = searched(at(1), {"lr": (0.1, 0.1)}, {"lr": 0.1}, trials=4)
    assert (search.widened, search.edge_note()) == (False, "")
    assert {tried["lr"] for tried in search.tried} == {0.1}


def test_nothing_to_search_is_the_same_trial_again():
    search = searched(lambda _: 1.0, {}, {}, trials=4)
    assert search.tried == [{}] * 4
    assert search.best == 0


def test_nan_and_infinity_are_the_worst_and_the_earliest_of_equals_is_the_best():
    search = Search(LR, {"lr": 0.1}, trials=5)
    for score in (math.nan, math.inf, 2.0, 1.0, 1.0):
        search.ask()
        search.tell(score)
    assert search.scores == [math.inf, math.inf, 2.0, 1.0, 1.0]
    assert search.best == 3


def test_it_is_a_function_of_the_seed_and_prints_what_it_ran():
    space = LR | {"momentum": (0.0, 0.99), "warmup": (1.0, 50.0)}
    first = {"lr": 0.1, "momentum": 0.9, "warmup": 1.0}
    one, again, other = (searched(at(0.02), space, first, seed=seed).tried for seed in (0, 0, 1))
    assert one == again != other
    for tried in one:
        assert float(f"{tried['lr']:.3g}") == tried["lr"]
        assert tried["warmup"] == int(tried["warmup"])
