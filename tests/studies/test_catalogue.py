"""Studies by name."""

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
