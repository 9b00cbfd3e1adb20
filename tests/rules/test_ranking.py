"""One cause comes first, and what follows from it names it; no circles, nothing lost.

Pure functions of findings, so no net is needed; the oracle is the table of causes itself.
"""

import dataclasses
import itertools

import pytest

from sounding.rules import RULES, Finding
from sounding.rules.ranking import CAUSES, ORDER, rank


def finding(code, severity="problem", since=0):
    return Finding(
        code=code,
        name=code.lower(),
        severity=severity,
        message="",
        layers=(),
        source="",
        measured={},
        expected={},
        confidence="exact",
        since=since,
    )


def test_the_table_knows_the_rules_and_has_no_circle():
    codes = {rule.code for rule in RULES}
    assert set(ORDER) == codes
    assert len(set(ORDER)) == len(ORDER)
    for cause, effects in CAUSES.items():
        assert set(effects) <= codes
        assert all(ORDER.index(effect) > ORDER.index(cause) for effect in effects)


@pytest.mark.parametrize("order", [*itertools.permutations(["SD201", "SD205", "SD303"])])
def test_the_order_of_the_rules_does_not_matter(order):
    ranked = rank([finding(code) for code in order])
    assert ranked[0].code == "SD303"
    assert {f.code: f.because for f in ranked} == {"SD303": "", "SD201": "SD303", "SD205": "SD303"}


def test_trained_weights_are_not_blamed_for_the_rate_that_ruins_them():
    ranked = rank([finding("SD303"), finding("SD509"), finding("SD508")])
    assert {f.code: f.because for f in ranked} == {"SD508": "", "SD509": "SD508", "SD303": "SD508"}


def test_what_a_sound_pass_became_is_the_effect_of_the_steps_that_were_too_large():
    at_first = rank([finding("SD203"), finding("SD501"), finding("SD410")])
    later = rank([finding("SD203", since=32), finding("SD501"), finding("SD410")])
    assert {f.code: f.because for f in at_first} == {"SD203": "", "SD501": "SD203", "SD410": ""}
    assert {f.code: f.because for f in later} == {"SD410": "", "SD501": "SD410", "SD203": "SD501"}


def test_units_that_die_later_are_the_effect_of_the_weights_at_first():
    at_first = rank([finding("SD303"), finding("SD203")])
    later = rank([finding("SD303"), finding("SD203", since=2)])
    assert [(f.code, f.because) for f in at_first] == [("SD203", ""), ("SD303", "SD203")]
    assert [(f.code, f.because) for f in later] == [("SD303", ""), ("SD203", "SD303")]


def test_weights_that_steps_have_spoilt_are_no_cause():
    ranked = rank([finding("SD303", since=2), finding("SD203", since=2), finding("SD410")])
    assert {f.code: f.because for f in ranked} == {"SD410": "", "SD203": "SD410", "SD303": "SD410"}


def test_what_a_sound_pass_became_is_a_cause_where_no_step_is():
    ranked = rank([finding("SD502"), finding("SD204", since=32)])
    assert [(f.code, f.because) for f in ranked] == [("SD204", ""), ("SD502", "SD204")]


def test_a_caution_does_not_cause_a_problem():
    ranked = rank([finding("SD204", "caution"), finding("SD201")])
    assert [(f.code, f.because) for f in ranked] == [("SD201", ""), ("SD204", "")]


def test_a_caution_causes_a_caution():
    ranked = rank([finding("SD201", "caution"), finding("SD204", "caution")])
    assert [(f.code, f.because) for f in ranked] == [("SD204", ""), ("SD201", "SD204")]


def test_unknown_rules_come_last_and_are_kept():
    ranked = rank([finding("MY001"), finding("SD201"), finding("AA000", "caution")])
    assert [f.code for f in ranked] == ["SD201", "MY001", "AA000"]


def test_nothing_found():
    assert rank([]) == ()


def test_all_at_once():
    ranked = rank([finding(rule.code) for rule in RULES])
    assert ranked[0].code == "SD210"
    assert {f.because for f in ranked[1:]} <= {"", *ORDER}
    passes = [f for f in ranked if f.code in ("SD101", "SD201", "SD205", "SD303", "SD501")]
    assert {f.because for f in passes} == {"SD210"}
    (zeros,) = (f for f in ranked if f.code == "SD301")
    assert zeros.because == "SD101"
    assert len(ranked) == len(RULES)


@pytest.mark.parametrize("measured", [{}, {"overflow": 1.0}])
def test_sums_of_gradients_stand_before_what_they_explode_into(measured):
    broken = dataclasses.replace(finding("SD101"), measured=measured)
    ranked = rank([broken, finding("SD303"), finding("SD211")])
    assert ranked[0].code == "SD211"
    assert {f.because for f in ranked[1:]} == {"SD211"}


@pytest.mark.parametrize("explosion", ["SD506", "SD303", "SD501"])
def test_a_number_that_only_grew_too_large_is_an_effect(explosion):
    """A square root of 0 explains a spike; an overflow is explained by it."""
    broken = finding("SD101")
    assert rank([finding(explosion), broken])[0].code == "SD101"
    grown = dataclasses.replace(broken, measured={"overflow": 1.0})
    ranked = rank([finding(explosion), grown])
    assert [(f.code, f.because) for f in ranked] == [(explosion, ""), ("SD101", explosion)]
    assert [f.because for f in rank([grown])] == [""]
