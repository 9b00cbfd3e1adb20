"""Fine-tuning in the linear model against its invariants; the transfer's code on a few images."""

import numpy as np
import pytest
import torch

from sounding.studies import samples, study
from sounding.studies.claims import kumar_2022_finetuning as tuning
from sounding.studies.lab import Lab


def test_features_do_not_move_outside_of_the_datas_subspace():
    """The paper's lemma: gradients of B lie in the span of the inputs."""
    problem = tuning.linear_problem(12, 3, 0.1, seed=0)
    w = tuning.fine_tuned(problem, problem.head)
    outside = torch.eye(12, dtype=w.dtype) - problem.subspace @ problem.subspace.T
    begun = problem.head @ problem.features
    # v moves, so w = v B moves outside along the rows of B's old outer part alone
    basis = problem.features @ outside
    rest = (w - begun) @ outside
    solution = torch.linalg.lstsq(basis.T, rest[:, None]).solution
    assert float((basis.T @ solution - rest[:, None]).abs().max()) < 1e-10
    assert float(((w - problem.target) @ problem.subspace).square().sum()) < 1e-18


def test_the_probe_is_least_squares():
    run = tuning.linear_transfer(12, 3, 0.1, seed=1)
    problem = tuning.linear_problem(12, 3, 0.1, seed=1)
    x, y = problem.x.numpy(), (problem.x @ problem.target).numpy()
    head = np.linalg.lstsq(x @ problem.features.numpy().T, y, rcond=None)[0]
    away = head @ problem.features.numpy() - problem.target.numpy()
    assert run["outside"]["LP"] == pytest.approx(float(away @ away), rel=1e-8)


def test_perfect_features_leave_the_probe_nothing_to_lose():
    run = tuning.linear_transfer(12, 3, 0.0, seed=2)
    assert run["outside"]["LP"] < 1e-20
    assert run["outside"]["FT"] > 1e-3


def test_the_claim_falls_where_fine_tuning_starts_from_the_probe(monkeypatch):
    honest = tuning.linear_transfer

    def swapped(**settings):
        run = honest(**settings)
        for losses in run.values():
            losses["FT"] = losses["LP-FT"]
        return run

    verdicts, charts = tuning.quick(Lab(), seeds=(0, 1, 2), inputs=12, features=3)
    assert verdicts[1].outcome == verdicts[3].outcome == "supported"
    monkeypatch.setattr(tuning, "linear_transfer", swapped)
    assert tuning.quick(Lab(), seeds=(0, 1, 2), inputs=12, features=3)[0][0].outcome == "refuted"
    assert [len(chart.lines) for chart in charts] == [3, 3]


def test_few_takes_as_many_of_every_class():
    y = torch.arange(100) % 10
    rows = tuning.few(y, 3, seed=0)
    assert y[rows].bincount().tolist() == [3] * 10
    assert len(set(rows.tolist())) == 30


def test_turned_images_are_turned():
    x = torch.arange(32.0).view(2, 1, 4, 4)
    turned, turns = tuning.rotated(x, seed=0)
    for image, k, original in zip(turned, turns, x, strict=True):
        assert torch.equal(torch.rot90(image, -int(k), (1, 2)), original)


def test_the_full_scales_code_runs_on_a_few_images(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, 8, 8, generator=generator)
    part = samples.Labelled(x, torch.arange(40) % 10)
    monkeypatch.setattr(tuning, "cifar", lambda device: samples.Split(part, part))
    monkeypatch.setattr(tuning, "needs", lambda device, cifar10: "")
    monkeypatch.setattr(tuning, "FULL_SEEDS", (0, 1))
    monkeypatch.setattr(tuning, "ARMS", ("scratch", "LP", "FT", "LP-FT"))
    tuning.pretrained.cache_clear()
    verdicts, _ = tuning.full(
        Lab(), device="cpu", channels=2, pretraining=1, steps=2, per_class=1, lrs=(0.01,)
    )
    tuning.pretrained.cache_clear()
    assert len(verdicts) == 4
    assert verdicts[0].outcome != "supported"


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("kumar-2022-finetuning").verdicts} == {"supported"}
