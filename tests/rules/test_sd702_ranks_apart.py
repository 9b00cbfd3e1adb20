"""SD702: copies of a model that are none, from the numbers of each process."""

import dataclasses

import numpy as np
import pytest

from sounding.measure.ranks import Ranks
from sounding.result import NotApplicable
from sounding.rules.ranks import ranks_apart


def together(ran, *, parallel="DistributedDataParallel", weights=("1.5", "1.5"), norms=None):
    one = np.geomspace(2.0, 1.0, 40)
    norms = np.array([one, one]) if norms is None else norms
    loss = np.random.default_rng(0).random(norms.shape)
    ranks = Ranks(
        parallel=parallel, steps=np.arange(40), loss=loss, gradient_norm=norms, weights=weights
    )
    return dataclasses.replace(ran(), ranks=ranks)


def test_other_gradients_from_a_step_on(ran):
    norms = np.array([np.geomspace(2.0, 1.0, 40)] * 2)
    norms[1, 25:] *= 1.01
    norms[0, 30:] = np.nan  # not measured there: nothing is known
    finding = ranks_apart(together(ran, norms=norms))
    assert (finding.code, finding.measured["steps_apart"]) == ("SD702", 5.0)
    assert "at 5 of 30 steps" in finding.message
    assert "at step 25" in finding.message


def test_other_weights_at_the_start(ran):
    finding = ranks_apart(together(ran, weights=("1.5", "1.5000000000000002")))
    assert "differ before the first step" in finding.message


def test_silent(ran):
    assert ranks_apart(together(ran)) is None
    six = np.array([np.geomspace(2.0, 1.0, 40)] * 2)
    six[1] = [float(f"{value:.6g}") for value in six[1]]
    assert ranks_apart(together(ran, norms=six)) is None
    for parallel in ("FSDP", ""):
        with pytest.raises(NotApplicable):
            ranks_apart(together(ran, parallel=parallel))
    with pytest.raises(NotApplicable, match="one process"):
        ranks_apart(ran())
