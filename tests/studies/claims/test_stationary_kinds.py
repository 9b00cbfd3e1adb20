"""Kinds of stationary points: rows against calculus, and an instrument that is wrong.

No other test would see undecided points counted as right beyond their share.
"""

import pytest

from sounding.studies import study
from sounding.studies.claims import stationary_kinds as kinds
from sounding.studies.lab import Lab


def test_rows_say_what_calculus_says():
    monkey = kinds.textbook("monkey saddle: x^3 - 3 x y^2")["rows"][0]
    assert (monkey["true"], monkey["called"]) == ("non-strict saddle", "non-strict saddle")
    assert (monkey["second_order"], monkey["alone"]) == (True, False)
    saddle = kinds.textbook("saddle: x^2 - y^2")["rows"][0]
    assert (saddle["called"], saddle["alone"]) == ("strict saddle", True)
    assert not saddle["second_order"]
    bowl = kinds.textbook("flat bowl: x^4 + y^4")["rows"][0]
    assert (bowl["called"], bowl["alone"]) == ("degenerate", False)


def _rows(*called):
    return [
        {"true": "strict minimum", "called": c, "name": "p", "second_order": True, "alone": True}
        for c in called
    ]


@pytest.mark.parametrize(
    ("called", "outcomes"),
    [
        (["strict minimum"] * 100, ["supported", "supported"]),
        (["strict minimum"] * 99 + ["undecided"], ["supported", "supported"]),
        (["strict minimum"] * 97 + ["undecided"] * 3, ["supported", "refuted"]),
        (["strict minimum"] * 99 + ["maximum"], ["inconclusive", "supported"]),
        (["maximum"] * 9, ["refuted", "supported"]),
    ],
)
def test_the_instrument_is_judged(called, outcomes):
    verdicts = kinds.kind_verdicts(_rows(*called))
    assert [verdict.outcome for verdict in verdicts] == outcomes


def test_a_wrong_call_is_named():
    note = kinds.kind_verdicts(_rows("maximum", "strict minimum"))[0].note
    assert note == "p is strict minimum, called maximum"


def test_a_small_run_has_every_point(monkeypatch):
    names = ("quartic saddle: x^4 - y^4", "dome: -x^2 - y^2")
    monkeypatch.setattr(kinds, "TEXTBOOK", names)
    lab = Lab()
    verdicts, charts = kinds.quick(lab, points=3)
    assert lab.done == 2 + 1
    assert "of 5 points" in verdicts[1].statement
    measured, there = charts[0].lines
    assert measured.y.tolist() == there.y.tolist()
    assert there.y.sum() == 5


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """A quarter of a minute."""
    result = study("stationary-kinds")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}
