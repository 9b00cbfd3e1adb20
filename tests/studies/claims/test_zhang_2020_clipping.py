"""Steps on cosh against published numbers, curvature of an LSTM against finite differences."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.studies import study
from sounding.studies.claims import zhang_2020_clipping as clipping
from sounding.studies.lab import Lab


def test_steps_on_cosh_are_known_numbers():
    counts = clipping.steps_needed(5.0)
    assert (counts["clipped"], counts["safe"]) == (28, 1067)
    assert clipping.steps_needed(7.0)["clipped"] == 32  # two more a unit


def test_curvature_of_a_quadratic_is_its_own():
    """f = a (w x)^2 / 2 in one weight: every change of the gradient is a x^2 times the step."""

    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0]))

        def forward(self, x):
            return torch.stack([0 * self.w, self.w], 1) * x

    net, batch = Square(), (torch.ones(1, 1), torch.tensor([0]))
    start, end = [torch.tensor([0.3])], [torch.tensor([0.3001])]
    gradient, curvature = clipping._along(net, start, end, batch)
    p = torch.sigmoid(torch.tensor(0.3, dtype=torch.float64))
    assert gradient == pytest.approx(float(p), rel=1e-5)  # of log(1 + e^w)
    assert curvature == pytest.approx(float(p * (1 - p)), rel=0.02)
    assert functional.softplus(torch.tensor(0.0)) > 0


def test_the_text_is_a_language_and_not_noise():
    x, y = clipping.texts()
    assert torch.equal(x[:, 1:], y[:, :-1])
    pairs = x[:, :-1] * clipping.SYMBOLS + x[:, 1:]
    nexts = [y[:, 1:][pairs == pair] for pair in pairs.unique()[:50]]
    shares = [n.bincount().max() / len(n) for n in nexts if len(n) > 20]
    assert np.mean(shares) > 0.4  # noise: about 1 / 16, and a little more


def test_the_study_runs_small_and_random_curvature_is_refuted(monkeypatch):
    rng = np.random.default_rng(0)

    def noise(steps, hidden, seed):
        return {"gradient": rng.lognormal(size=40), "curvature": rng.lognormal(size=40)}

    monkeypatch.setattr(clipping, "smoothness", noise)
    verdicts, charts = clipping.quick(Lab(), starts=(3, 5, 7, 8), seeds=(0, 1))
    assert [v.outcome for v in verdicts] == [
        "refuted", "supported", "supported", "refuted", "supported",
    ]  # fmt: skip
    assert len(charts) == 2


def test_a_short_training_is_looked_at_every_sixth_step():
    run = clipping.smoothness(steps=14, hidden=4, seed=0)
    assert run["gradient"].shape == run["curvature"].shape == (3,)
    assert (run["curvature"] > 0).all()


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("zhang-2020-clipping").verdicts} == {"supported"}
