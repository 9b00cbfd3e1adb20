"""Adaptive optimisers with a large epsilon: ours against torch's, and distances against theory."""

import numpy as np
import pytest
import torch
from torch import nn

from sounding.studies import study
from sounding.studies.claims import choi_2019_inclusion as inclusion


def test_adam_without_correction_is_torchs_with_the_correction_taken_out():
    """One parameter, constant gradient g: torch's first step is lr; ours lr (1-b1)/sqrt(1-b2)."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    ours = inclusion._Moments([weight], 1e-12)
    weight.grad = torch.full((1,), 3.0, dtype=torch.float64)
    ours.step()
    expected = -inclusion.LR * 1e-12 * 0.1 / np.sqrt(0.001)
    assert weight.item() == pytest.approx(expected, rel=1e-6)


def test_distances_fall_tenfold_with_ten_times_the_epsilon():
    for pair in inclusion.PAIRS:
        found = inclusion.distances(pair, 5, (1e3, 1e4), 0)["distances"]
        assert 0 < found[1] < 1e-3
        assert found[0] / found[1] == pytest.approx(10, rel=0.01)


def test_another_learning_rate_is_no_inclusion(monkeypatch):
    """Half the step: the distance no longer falls with epsilon, and the verdict is refuted."""
    step = inclusion._Moments.step

    def halved(self):
        before = [w.detach().clone() for w in self.weights]
        step(self)
        if self.epsilon is not None:
            with torch.no_grad():
                for weight, old in zip(self.weights, before, strict=True):
                    weight.copy_((weight + old) / 2)

    monkeypatch.setattr(inclusion._Moments, "step", halved)
    found = [
        inclusion.distances(inclusion.PAIRS[0], 3, inclusion.EPSILONS, seed)["distances"]
        for seed in (0, 1)
    ]
    assert inclusion._slopes(inclusion.PAIRS[0], np.array(found), (0, 1)).outcome == "refuted"


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    result = study("choi-2019-inclusion")
    assert [v.outcome for v in result.verdicts] == ["supported"] * 4
