"""Random tanh nets: the runs against closed forms, the border between depths, small sizes."""

import math

import numpy as np
import pytest
import torch

from sounding.studies import study
from sounding.studies.claims import schoenholz_2017_depth as depth
from sounding.studies.lab import Lab


def test_relu_nets_follow_the_arc_cosine_map():
    found = depth.propagate("relu", 2.0, 0.0, 1.0, 1000, 4, seed=0)
    c = depth.START
    for measured in found["correlation"]:
        assert measured == pytest.approx(c, abs=0.03)
        c = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
    # the gradient's mean square is kept at s = 2
    np.testing.assert_allclose(found["log gradient"], 0.0, atol=0.3)


def test_the_published_critical_point_is_where_gradients_are_kept():
    """sw2 = 1.76 at sb2 = 0.05; chi at 1 is 0.759."""
    assert depth._variances()[3] == pytest.approx(1.76095, abs=1e-5)
    assert depth._log_chi(1.0) == pytest.approx(math.log(0.7590), abs=1e-4)
    assert depth._xi(1.0) == pytest.approx(3.63, abs=0.01)


def test_the_border_lies_where_accuracy_falls_through_its_middle():
    assert depth.border((10, 20, 40), np.array([1.0, 1.0, 0.0])) == pytest.approx(
        math.sqrt(20 * 40)
    )
    assert depth.border((10, 20, 40), np.array([1.0, 0.0, 0.0])) == pytest.approx(
        math.sqrt(10 * 20)
    )
    assert depth.border((10, 20), np.array([0.5, 0.5])) == 20  # trains at every depth


def test_nets_have_the_depth_and_variances_they_are_asked_for():
    torch.manual_seed(0)
    net = depth.tanh_net(64, 1.3, 6, 300, "cpu")
    linear = [m for m in net if isinstance(m, torch.nn.Linear)]
    assert len(linear) == 6
    assert linear[2].weight.var().item() * 300 == pytest.approx(1.3, rel=0.03)
    assert not isinstance(net[-1], torch.nn.Tanh)


def test_every_part_is_there_at_a_small_size(monkeypatch):
    monkeypatch.setattr(depth, "DEPTH", 8)
    monkeypatch.setattr(depth, "PAIR_AT", 6)
    lab = Lab()
    verdicts, charts = depth.quick(
        lab, width=40, pair_width=40, training_width=8, steps=2, seeds=(0, 1), lrs=(0.01, 0.1),
        trained_at=(0.8,),
    )  # fmt: skip
    assert lab.done == lab.total
    assert len(verdicts) == 1 + 7 + 3 + 2 + 2
    trains = next(v for v in verdicts if v.statement.endswith("the net trains on every seed"))
    assert trains.outcome == "refuted"  # two steps teach nothing
    assert len(charts) == 3


def test_a_wrong_phase_is_refuted():
    verdict = depth._agreement([-0.17, -0.168], 0.168, depth.GAIN_TOLERANCE, "gain", (0, 1))
    assert verdict.outcome == "refuted"


@pytest.mark.slow
def test_the_gradients_and_correlations_agree_at_the_quick_scale():
    result = study("schoenholz-2017-depth")
    assert [v.outcome for v in result.verdicts[1:10]] == ["supported"] * 9
    assert result.verdicts[10].outcome != "refuted"  # in chaos five nets scatter by 0.03
