"""Readings of a net, and the same numbers computed in full and in double precision."""

import pytest
import torch

from sounding.capture.passes import record
from sounding.measure.examination import readings


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def read():
    """`read(net, compute, inputs)`: the readings of one pass in which no recorder failed."""

    def take(net, compute, inputs=()):
        recording = record(net, compute, inputs)
        assert recording.failures == ()
        return readings(net, recording)

    return take
