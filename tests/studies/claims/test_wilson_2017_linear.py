"""Wilson's separable data: runs against the closed forms of both solutions.

No other test would see an error on new samples that is read off the wrong weights, or a method
that is not the one it is called.
"""

import numpy as np
import pytest

from sounding.problems import SeparableData
from sounding.studies import study
from sounding.studies.claims import wilson_2017_linear as wilson
from sounding.studies.lab import Lab
from sounding.train import train


@pytest.fixture(scope="module")
def small():
    return wilson.quick(Lab(), sizes={0.7: 40}, seeds=(0, 1), steps=300, batch_steps=2)


def test_full_batches_reproduce_the_claim_on_small_data(small):
    verdicts, charts = small
    assert [v.outcome for v in verdicts[:8]] == ["supported"] * 8
    assert verdicts[1].effect == pytest.approx(0.0, abs=1e-12)  # the error is 1 - p exactly
    lines = {line.label: line.y for line in charts[0].lines}
    np.testing.assert_allclose(lines["Adam"], 0.3)
    np.testing.assert_allclose(lines["heavy ball"], 0.0)


def test_an_epsilon_that_leaves_the_ray_is_seen(monkeypatch):
    large = {"optimiser": "adam", "lr": 0.05, "options": {"eps": 100.0}}  # plain momentum, nearly
    monkeypatch.setitem(wilson.ADAPTIVE, "Adam", large)
    trial = train(wilson.full_batch_case("Adam", 0.7, 40, 300), 0)
    assert trial.metrics["spread"] > 0.1


def test_what_a_run_found_is_read_off_the_two_known_solutions():
    problem = SeparableData(30, positive=0.7, seed=3)
    ray = wilson._found(problem.place(problem.adaptive()))
    assert ray["spread"] < 1e-15
    assert ray["test error"] == pytest.approx(0.3)
    assert ray["training loss"] < 1e-25
    plain = wilson._found(problem.place(problem.smallest_norm()))
    assert plain["spread"] > 0.1
    assert plain["test error"] == 0.0


def test_every_seed_has_data_of_its_own():
    losses = [train(wilson.full_batch_case("Adam", 0.6, 40, 1), s).loss.values[0] for s in (0, 1)]
    assert losses == [20.0, 20.0]  # |y|^2 / 2 from zero weights, whatever the labels
    first, second = (train(wilson.full_batch_case("heavy ball", 0.6, 40, 5), s) for s in (0, 1))
    assert first.loss.values[-1] != second.loss.values[-1]


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert [v.outcome for v in study("wilson-2017-linear").verdicts] == ["supported"] * 10
