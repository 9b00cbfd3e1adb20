"""Chains against dense products, and verdicts under a wrong scale."""

import math

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import exploding_gradients as exploding
from sounding.studies.lab import Lab


def test_a_linear_chain_grows_by_the_scale():
    """Width 300, 10 layers: log |J v|^2 scatters by sqrt(2 L / n) = 0.26."""
    logs = exploding.chain("identity", 4.0, 300, 10, seed=0)["logs"]
    assert logs.shape == (10,)
    assert logs[-1] == pytest.approx(10 * math.log(4), abs=0.8)
    halved = exploding.chain("relu", 4.0, 300, 10, seed=0)["logs"]
    assert halved[-1] == pytest.approx(10 * math.log(2), abs=1.3)


def test_aligned_masks_keep_what_random_ones_lose():
    random, aligned = (
        exploding.masked_chain(0.25, way, 80, 12, seed=1)["logs"][-1] for way in (False, True)
    )
    assert random == pytest.approx(12 * math.log(0.25), abs=2.5)
    assert abs(aligned) < 1.5


def test_a_wrong_slope_is_refuted():
    layers = np.arange(1, 9)
    logs = np.stack([layers * 0.69, layers * 0.70])
    right = exploding._agreement("chain", logs, math.log(2), math.log(2), (0, 1))
    wrong = exploding._agreement("chain", logs, math.log(4), math.log(2), (0, 1))
    assert (right.outcome, wrong.outcome) == ("supported", "refuted")


def test_the_parts_at_a_small_size():
    lab = Lab()
    verdicts, charts = exploding.quick(lab, width=30, masked_width=20, depth=6, seeds=(0, 1))
    assert lab.done == lab.total == 2 * (8 + 4)
    assert len(verdicts) == 1 + 8 + 4
    assert [len(chart.lines) for chart in charts] == [8, 6]


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    result = study("exploding-gradients")
    assert [v.outcome for v in result.verdicts] == ["supported"] * 13
