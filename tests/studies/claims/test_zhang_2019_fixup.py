"""Fixup's initial values against the remedy's, and the first step of two depths."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from sounding.remedies import prescribe
from sounding.remedies.apply import treat
from sounding.studies import samples, study
from sounding.studies.claims import zhang_2019_fixup as fixup
from sounding.studies.lab import Lab


def test_the_initial_values_have_the_sizes_of_the_remedys():
    net = fixup.dense_net(fixup.FIXUP, 4, 64)
    treated = fixup.dense_net(fixup.HE, 4, 64)
    x, y = torch.randn(8, 64), torch.randint(0, 10, (8,))
    treat(
        prescribe("reinitialise", scheme="fixup"),
        treated,
        lambda: functional.cross_entropy(treated(x), y),
    )
    for ours, theirs in zip(net, treated, strict=True):
        if isinstance(ours, fixup.Branch):
            assert not ours.second.weight.any()
            assert not theirs.second.weight.any()
            deviation = ours.first.weight.std().item()
            assert deviation == pytest.approx(theirs.first.weight.std().item(), rel=0.1)
            assert deviation == pytest.approx((2 / 64 / 4) ** 0.5, rel=0.1)
    assert not net[-1].weight.any()
    assert not treated[-1].weight.any()


def test_branches_of_zero_do_nothing_and_the_stem_is_shared():
    x = torch.randn(2, 64)
    outputs = []
    for depth in (1, 5):
        torch.manual_seed(0)
        outputs.append(fixup.dense_net(fixup.FIXUP, depth, 8)[:-1](x))
    assert torch.equal(*outputs)


def test_the_first_step_is_the_same_at_both_depths():
    changes = [fixup.loss_changes(fixup.FIXUP, depth, 8, 0)["change"] for depth in (2, 20)]
    assert changes[0][0] == pytest.approx(changes[1][0], rel=1e-3)
    assert 0.5 < changes[0][-1] / changes[1][-1] < 2


def test_he_in_the_place_of_fixup_is_refuted(monkeypatch):
    monkeypatch.setattr(fixup, "CHANGE_SEEDS", (0, 1))
    monkeypatch.setattr(fixup, "SEEDS", (0, 1))
    small = {"depths": (2, 14), "width": 8, "training_depth": 3, "training_steps": 4, "lrs": (0.1,)}
    verdicts, charts = fixup.quick(Lab(), **small)
    assert [v.outcome for v in verdicts[1:7]] == ["supported"] * 6
    assert len(charts[0].lines) == 2
    dense = fixup.dense_net
    monkeypatch.setattr(fixup, "dense_net", lambda scheme, *size: dense(fixup.HE, *size))
    assert fixup.quick(Lab(), **small)[0][0].outcome == "refuted"


def test_infinite_changes_count_as_growth():
    changes = np.array([[[1.0]], [[np.inf]]]).repeat(3, axis=1)
    assert fixup._grows(changes, (10, 1000)).outcome == "supported"


def test_the_full_scales_code_runs_on_a_few_images(monkeypatch):
    part = samples.Labelled(torch.randn(16, 3, 8, 8), torch.arange(16) % 10)
    monkeypatch.setattr(fixup, "cifar", lambda device: samples.Split(part, part))
    monkeypatch.setattr(fixup, "needs", lambda device, cifar10: "")
    verdicts, _ = fixup.full(Lab(), device="cpu", branches=3, channels=2, steps=2)
    assert verdicts[1].outcome == "refuted"  # two steps train nothing


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("zhang-2019-fixup").verdicts} == {"supported"}
