"""Runs of a study: each made once, kept, found again, and made anew when its code has changed."""

import concurrent.futures

import numpy as np
import pytest
import torch
from torch import nn

from sounding.store import Store
from sounding.studies import lab as lab_module
from sounding.studies.lab import Lab
from sounding.train import Case, Recipe, train

MADE = []


def square(value, seed):
    MADE.append((value, seed))
    if value < 0:
        raise ArithmeticError("no negative numbers here")
    return {"square": value**2 + seed, "powers": np.arange(3.0) ** value, "pair": (1, float("nan"))}


def line_case(lr):
    x = torch.linspace(-1, 1, 8)[:, None]
    return Case(lambda: nn.Linear(1, 1), nn.functional.mse_loss, (x, 2 * x), Recipe(lr=lr, steps=5))


@pytest.fixture(autouse=True)
def nothing_made():
    MADE.clear()


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "studies.sqlite") as opened:
        yield opened


JOBS = [{"value": v, "seed": s} for v in (2, 3) for s in (0, 1)]


def test_a_stored_run_is_what_a_fresh_one_is_and_is_made_once(store):
    fresh = Lab("s", store=store).map(square, JOBS)
    assert [run["square"] for run in fresh] == [4, 5, 9, 10]
    assert len(MADE) == 4
    again = Lab("s", store=store)
    found = again.map(square, reversed(JOBS))
    assert len(MADE) == 4
    assert again.done == again.total == 4
    for one, other in zip(fresh, reversed(found), strict=True):
        np.testing.assert_equal(one, other)
    np.testing.assert_equal(Lab().map(square, JOBS[:1])[0], fresh[0])


def test_studies_and_scales_keep_runs_apart(store):
    Lab("s", store=store).map(square, JOBS)
    Lab("s", "full", store=store).map(square, JOBS)
    Lab("other", store=store).map(square, JOBS)
    assert len(MADE) == 12


def test_after_a_failure_the_runs_before_it_are_there(store):
    jobs = [*JOBS, {"value": -1, "seed": 0}, {"value": 5, "seed": 0}]
    with pytest.raises(ArithmeticError, match="no negative numbers"):
        Lab("s", store=store).map(square, jobs)
    assert len(store.keys("s")) == 4
    MADE.clear()
    Lab("s", store=store).map(square, [*JOBS, jobs[-1]])
    assert MADE == [(5, 0)]


def test_runs_of_other_code_are_made_anew(store, monkeypatch):
    Lab("s", store=store).map(square, JOBS)
    monkeypatch.setattr(lab_module, "code_version", lambda function: "another")
    Lab("s", store=store).map(square, JOBS)
    assert len(MADE) == 8
    assert len(store.keys("s")) == 8


def test_a_trial_is_that_of_train_stored_or_not(store):
    jobs = [{"lr": lr, "seed": seed} for lr in (0.1, 0.5) for seed in (0, 1)]
    fresh = Lab("s", store=store).train(line_case, jobs)
    stored = Lab("s", store=store).train(line_case, jobs)
    for job, one, other in zip(jobs, fresh, stored, strict=True):
        expected = train(line_case(job["lr"]), job["seed"])
        np.testing.assert_allclose(one.loss.values, expected.loss.values, rtol=1e-6)
        np.testing.assert_array_equal(one.loss.values, other.loss.values)
        assert one.seed == other.seed == job["seed"]


def test_an_executor_makes_the_runs_and_order_stays(store, monkeypatch):
    monkeypatch.setattr(lab_module, "TOGETHER", 2)
    jobs = [{"lr": 0.1 * k, "seed": k} for k in range(1, 6)]
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        lab = Lab("s", store=store, executor=executor)
        assert [run["square"] for run in lab.map(square, JOBS)] == [4, 5, 9, 10]
        trials = lab.train(line_case, jobs)
    assert [trial.seed for trial in trials] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(
        trials[3].loss.values, train(line_case(0.4), 4).loss.values, rtol=1e-6
    )
    assert lab.done == 9
    assert lab.seconds > 0
