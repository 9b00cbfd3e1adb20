"""SD418: samples that are mixed, in a run that learns little."""

import pytest

from sounding.measure.test import Untested
from sounding.rules.mixing import samples_mixed

LEARNT = {"explained": 0.6, "error": 0.02}


@pytest.mark.parametrize(
    ("mixed", "now", "simple", "found"),
    [
        (0.5, 2.2, LEARNT, True),
        (0.0, 2.2, LEARNT, False),
        (0.5, 0.4, LEARNT, False),  # it learns all the same: a graph, a set
        (0.5, 2.2, {"explained": 0.1, "error": 0.02}, False),
    ],
)
def test_mixes_and_learns_little(ran, mixed, now, simple, found):
    tests = {"baseline": simple, "mixing": {"eval": mixed, "train": mixed}}
    finding = samples_mixed(ran(constant=(2.3, now), tests=tests))
    assert (finding is not None) == found
    if finding:
        assert (finding.code, finding.measured["change"]) == ("SD418", mixed)


def test_asks_for_what_decides(ran):
    with pytest.raises(Untested, match="constant"):
        samples_mixed(ran())
    with pytest.raises(Untested, match="mixing"):
        samples_mixed(ran(constant=(2.3, 2.2), tests={"baseline": LEARNT}))
