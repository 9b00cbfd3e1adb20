"""Adaptive clipping unit by unit, and what counts as the largest rate."""

import numpy as np
import pytest
import torch

from sounding.studies import samples, study
from sounding.studies.claims import brock_2021_clipping as agc
from sounding.studies.lab import Lab


def test_units_are_bounded_and_short_gradients_stay():
    run = agc.clipped(0.01, seed=0)
    assert run["before"].max() > 1
    assert run["after"].max() == pytest.approx(0.01, rel=1e-9)
    short = run["before"] < 0.01
    assert short.any()
    np.testing.assert_allclose(run["after"][short], run["before"][short], rtol=1e-12)


def fake(stands):
    """Runs that train up to a rate of `stands[clip]`, and diverge above."""

    def accuracies(trials):
        return np.array([1.0 if job["lr"] <= stands[job["clip"]] else 0.0 for job in trials])

    return accuracies


@pytest.mark.parametrize(("clipped", "outcome"), [(10.0, "supported"), (0.16, "refuted")])
def test_the_rate_is_counted_from_the_largest_that_works(monkeypatch, clipped, outcome):
    monkeypatch.setattr(Lab, "train", lambda self, case, jobs: list(jobs))
    monkeypatch.setattr(agc, "_accuracies", fake({False: 0.08, True: clipped}))
    verdicts, charts = agc.quick(Lab())
    assert verdicts[0].outcome == outcome
    assert "is 0.08" in verdicts[3].note
    assert len(charts[0].lines) == 2


def test_where_no_rate_works_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(Lab, "train", lambda self, case, jobs: list(jobs))
    monkeypatch.setattr(agc, "_accuracies", fake({False: 0.0, True: 1.0}))
    assert agc.quick(Lab())[0][0].outcome == "not tested"


def test_a_clipped_case_moves_units_by_little():
    """One step at rate 1 moves a hidden unit by 0.01 of its norm at most."""
    case = agc.digits_case(True, branches=1, width=8, lr=1.0, steps=1)
    nets = []
    build = case.build

    def kept():
        nets.append(build())
        nets.append(torch.nn.utils.parameters_to_vector(nets[0][1].parameters()).clone())
        return nets[0]

    from sounding.train import train

    train(case.replace(build=kept), 0)
    before = nets[1][:64].view(8, 8)
    after = nets[0][1].first.weight
    assert ((after - before).norm(dim=1) / before.norm(dim=1)).max().item() <= 0.0101


def test_the_full_scales_code_runs_on_a_few_images(monkeypatch):
    part = samples.Labelled(torch.randn(16, 3, 8, 8), torch.arange(16) % 10)
    monkeypatch.setattr(agc, "cifar", lambda device: samples.Split(part, part))
    monkeypatch.setattr(agc, "needs", lambda device, cifar10: "")
    monkeypatch.setattr(agc, "SEEDS", (0, 1))
    verdicts, _ = agc.full(Lab(), device="cpu", branches=3, channels=2, steps=2, lrs=(1e-3, 1e-2))
    assert len(verdicts) >= 3


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("brock-2021-clipping").verdicts} == {"supported"}
