"""Runs: each once, in any executor; a failing change waits, a failing case does not."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sounding.result import Series
from sounding.train import Trial, silent
from sounding.train.runs import Runs


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
