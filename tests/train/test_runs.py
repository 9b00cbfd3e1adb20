"""Runs: each once, in any executor; a failing change waits, a failing case does not."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from sounding.result import NotApplicable, Series
from sounding.train import Case, Recipe, Trial, silent, train
from sounding.train.runs import CaseArm, Runs


def _trial(seed, loss=1.0):
    series = Series(quantity="loss", unit="", steps=np.arange(1), values=np.array([loss]))
    return Trial(seed=seed, loss=series, metrics={}, diverged=False, seconds=0.0)


@pytest.fixture(params=["here", "threads"])
def executor(request):
    if request.param == "here":
        yield None
    else:
        with ThreadPoolExecutor(2) as pool:
            yield pool


def test_every_run_is_made_once_and_comes_back_in_order(executor):
    made, heard = [], []

    def run(changes, seed):
        made.append((changes, seed))
        return _trial(seed)

    runs = Runs(run, lambda *said: heard.append(said), executor)
    runs.plan(4, "two arms", 30)
    jobs = [(arm, seed) for seed in (3, 1) for arm in ((), ("a",))]
    assert [t.seed for t in runs.trials(jobs)] == [3, 3, 1, 1]
    assert [t.seed for t in runs.trials(jobs[::-1])] == [1, 1, 3, 3]
    assert sorted(made) == sorted(jobs)
    runs.end("enough")
    assert heard[0] == ("at most 4 runs of 30 steps: two arms", 0, 4)
    assert [(done, total) for _, done, total in heard[1:-1]] == [(n, 4) for n in range(1, 5)]
    assert heard[-1] == ("enough", 4, 4)


def test_the_failure_of_a_change_waits_until_it_is_asked_for(executor):
    def run(changes, seed):
        if changes:
            raise ValueError("does not fit")
        return _trial(seed)

    runs = Runs(run, silent, executor)
    runs.prepare([((), 0), (("a",), 0)])
    assert runs.trials([((), 0)])[0].seed == 0
    with pytest.raises(ValueError, match="does not fit"):
        runs.trials([(("a",), 0)])


def test_the_failure_of_the_case_itself_is_raised_at_once(executor):
    def run(changes, seed):
        raise ValueError("bad data")

    with pytest.raises(ValueError, match="bad data"):
        Runs(run, silent, executor).prepare([((), 0)])


# --- arms that train cases ------------------------------------------------------------------------

X = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
BASE = Case(
    lambda: nn.Sequential(nn.Linear(1, 1)).double(),
    nn.functional.mse_loss,
    (X, 2 * X),
    Recipe(lr=0.1, batch_size=8, steps=30),
)


def _changed(changes):
    if "misfit" in changes:
        raise NotApplicable("there is no such layer")
    return BASE.replace(recipe=BASE.recipe.replace(lr=0.1 * 2 ** len(changes)))


def test_the_runs_of_cases_go_together_each_as_it_is_alone():
    heard = []
    runs = Runs(CaseArm(_changed, steps=20), lambda *said: heard.append(said), None)
    runs.plan(5, "two arms", 20)
    jobs = [((), 0), (("faster",), 0), ((), 3), (("faster",), 3), (("misfit",), 0)]
    runs.prepare(jobs)
    words = [message for message, *_ in heard[1:]]
    assert words[:2] == ["misfit: seed 0: there is no such layer", "trying 4 runs as one program"]
    assert [done for _, done, _ in heard[1:]] == [1, 1, 2, 3, 4, 5]
    for (changes, seed), trial in zip(jobs[:4], runs.trials(jobs[:4]), strict=True):
        alone = train(_changed(changes), seed, steps=20)
        np.testing.assert_allclose(trial.loss.values, alone.loss.values, rtol=1e-10)
        assert trial.seed == seed
    with pytest.raises(NotApplicable, match="no such layer"):
        runs.trials(jobs[4:])


def test_the_failure_of_the_case_itself_is_raised_also_from_runs_that_go_together():
    bad = BASE.replace(batches=(X, 2 * X[:, [0, 0]] / 0 * 0))
    with pytest.raises(ValueError, match="the target of the batch holds NaN"):
        Runs(CaseArm(lambda changes: bad), silent, None).prepare([((), 0), ((), 1)])
