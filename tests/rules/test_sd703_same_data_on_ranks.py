"""SD703: equal losses at every step, and what only looks like it."""

import dataclasses

import numpy as np
import pytest

from sounding.measure.ranks import Ranks
from sounding.result import NotApplicable
from sounding.rules.ranks import same_data


def together(ran, loss, parallel="FSDP"):
    loss = np.array(loss)
    ranks = Ranks(
        parallel=parallel,
        steps=np.arange(loss.shape[1]),
        loss=loss,
        gradient_norm=loss,
        weights=(),
    )
    return dataclasses.replace(ran(), ranks=ranks)


@pytest.mark.parametrize("parallel", ["FSDP", "DistributedDataParallel"])
def test_two_of_three(ran, parallel):
    own = np.random.default_rng(0).random((2, 20))
    finding = same_data(together(ran, [own[0], own[1], own[0]], parallel))
    assert finding.code == "SD703"
    assert finding.message.startswith("processes 0 and 2 have the same loss at all of 20 steps")
    assert finding.measured == {"steps_with_equal_losses": 20.0, "pairs": 1.0}


def test_silent(ran):
    own = np.random.default_rng(0).random((2, 20))
    assert same_data(together(ran, own)) is None
    almost = [own[0], np.r_[own[0][:-1], own[1][-1]]]
    assert same_data(together(ran, almost)) is None


@pytest.mark.parametrize("loss", [np.ones((2, 20)), np.random.default_rng(0).random((1, 5))])
def test_too_little_to_tell(ran, loss):
    with pytest.raises(NotApplicable, match="too few"):
        same_data(together(ran, [loss[0], loss[0]]))
    with pytest.raises(NotApplicable, match="not known"):
        same_data(together(ran, loss, ""))
