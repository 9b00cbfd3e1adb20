"""Studies by name."""

import dataclasses
import functools

import pytest

from sounding.studies import STUDIES, Claim, study


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(ValueError, match="did you mean he-2015-depth"):
        study("he-2015")
    with pytest.raises(ValueError, match=r"there are .*he-2015-depth"):
        study("zzz")


def test_an_unknown_scale_is_named():
    with pytest.raises(ValueError, match="use 'quick' or 'full'"):
        study("he-2015-depth", scale="medium")


def test_every_claim_is_filed_under_its_name_and_says_how_it_is_judged():
    for name, claim in STUDIES.items():
        assert isinstance(claim, Claim)
        assert claim.name == name
        assert all((claim.claim, claim.source, claim.criterion))


def test_the_first_verdict_has_the_criterion_of_its_scale(monkeypatch):
    """Also where the full scale is the quick one with larger numbers."""
    claim = STUDIES["pascanu-2013-clipping"]
    small = functools.partial(claim.full, seeds=(0,))
    monkeypatch.setitem(STUDIES, claim.name, dataclasses.replace(claim, full=small))
    judged = study(claim.name, "full")
    assert judged.verdicts[0].criterion == judged.criterion == claim.full_criterion
    assert "10 seeds" in judged.criterion
