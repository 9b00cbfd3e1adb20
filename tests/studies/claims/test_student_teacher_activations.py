"""Bad minima whatever the activation: counts against plain looks, and counts that are made up.

No other test would see saddles or runs on their way counted as bad minima, an activation without
any praised, or expected losses that no sample has.
"""

import numpy as np
import pytest
import torch

from sounding.problems import StudentTeacher
from sounding.studies import study
from sounding.studies.claims import student_teacher_activations as claim
from sounding.studies.lab import Lab


def test_ends_are_counted_and_have_the_losses_of_drawn_inputs():
    found = claim.descents("leaky 0.1", 8, trials=6, seed=0)
    problem = StudentTeacher(8, leak=0.1)
    assert found["bad"] == (found["losses"] > 1e-3).sum() == len(found["smallest"])
    assert found["moving"] == found["saddles"] == 0
    assert np.abs(found["off"]).max(initial=0.0) < claim.OFF
    point = problem.starts(1, seed=0)
    loss = problem.losses(point).detach().numpy()
    assert np.abs(claim.off_on_samples(problem, point.numpy(), loss, 0)).max() < claim.OFF
    assert np.abs(claim.off_on_samples(problem, point.numpy(), 2 * loss, 0)).min() > claim.OFF
    assert torch.is_tensor(point)


def _run(activation, bad, *, trials=300, saddles=0, moving=0, off=0.5, k=8):
    return {
        "activation": activation, "k": k, "trials": trials, "bad": bad, "saddles": saddles,
        "moving": moving, "losses": np.geomspace(1e-4, 1e-2, trials),
        "smallest": np.full(bad, 0.02), "off": np.full(min(bad, 3), off),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "outcome"), [(40, "supported"), (4, "supported"), (3, "inconclusive"), (0, "refuted")]
)
def test_an_activation_is_judged_by_its_rate(bad, outcome):
    verdict = claim.frequent("tanh", [_run("tanh", bad)])
    assert verdict.outcome == outcome
    assert verdict.effect == bad / 300


def test_runs_on_their_way_keep_an_activation_from_being_refuted():
    assert claim.frequent("tanh", [_run("tanh", 0, moving=1)]).outcome == "inconclusive"


def test_one_activation_without_bad_minima_refutes_whatever_the_activation():
    runs = [_run("relu", 30), _run("tanh", 0)]
    parts = claim.judged(runs)
    assert claim.overall(parts[0], parts, statement="", criterion="").outcome == "refuted"
    assert claim.check(runs).outcome == "supported"
    assert claim.check([_run("relu", 30, off=9.0)]).outcome == "refuted"
    assert claim.rest([_run("relu", 3, moving=200)]).outcome == "refuted"


def _astray(smallest, *, loss=0.01, gradient=1e-15):
    return {"activation": "gelu", "loss": loss, "gradient": gradient, "smallest": smallest}


def test_rectifiers_bad_minimum_leads_to_that_of_others():
    found = claim.astray("leaky 0.1", 6)
    assert found["gradient"] < claim.AT_REST < 1e-3 < found["loss"]
    assert found["smallest"] > 0
    assert claim.existence([found]).outcome == "supported"
    for none in (_astray(0.1, loss=0.0), _astray(0.1, gradient=0.1), _astray(-0.1)):
        assert claim.existence([none]).outcome == "refuted"


def test_both_scales_draw_every_line(monkeypatch):
    monkeypatch.setattr(
        claim, "descents", lambda activation, k, trials, seed: _run(activation, 9, trials=20, k=k)
    )
    monkeypatch.setattr(claim, "astray", lambda activation, k: _astray(0.02))
    lab = Lab()
    verdicts, charts = claim.full(lab, sizes=(3, 4), trials=20)
    assert (lab.done, len(verdicts)) == (12 + 6, 1 + 6 + 3)
    assert verdicts[0].criterion == claim.FULL
    assert [len(chart.lines) for chart in charts] == [7, 6]
    assert charts[1].lines[0].y == pytest.approx([9 / 20] * 2)


@pytest.mark.slow
def test_the_verdict_at_the_quick_scale():
    """A minute."""
    result = study("student-teacher-activations")
    assert result.verdicts[1].outcome == "supported"
