"""The rates that a net bears, and verdicts that come out both ways."""

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import layer_norm_rate as layer
from sounding.studies.lab import Lab

LRS = (0.1, 0.2, 0.4, 0.8)


@pytest.mark.parametrize(
    ("learns_at_four_times", "outcome"), [((1, 1), "supported"), ((0, 0), "refuted")]
)
def test_the_run_at_four_times_the_limit_decides(learns_at_four_times, outcome):
    stable = np.array([[1, 1], [1, 1], [learns_at_four_times[0], 1], [1, learns_at_four_times[1]]])
    limits = np.array([0.1, 0.2])
    assert layer._at_times(stable.astype(bool), limits, LRS, (0, 1)).outcome == outcome


def test_a_limit_beyond_the_grid_is_not_a_success():
    stable = np.ones((4, 2), bool)
    assert layer._at_times(stable, np.array([0.8, 0.8]), LRS, (0, 1)).outcome == "refuted"


def test_rates_that_no_net_bears_are_refuted():
    verdicts, charts = layer.quick(Lab(), steps=12, width=8, lrs=(50.0, 200.0), seeds=(0,))
    assert verdicts[0].outcome == "refuted"
    assert [len(line.x) for line in charts[0].lines] == [2, 2]


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("layer-norm-rate").verdicts} == {"supported"}
