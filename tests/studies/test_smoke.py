"""A smoke run: it runs what the full scale runs, says at which sizes, and judges nothing."""

import functools
import inspect

import pytest
from click.testing import CliRunner

from sounding.cli import main
from sounding.studies import STUDIES, Study, samples
from sounding.studies.claims import brock_2021_clipping as brock
from sounding.studies.claims import li_2020_exponential_rate as li
from sounding.studies.smoke import smoke


def test_it_runs_every_arm_and_judges_nothing(sixteen_images):
    sixteen_images(li)
    made = []
    sizes = {"steps": 4, "depth": 8, "seeds": (0, 1)}
    found = smoke("li-2020-exponential-rate", lambda *said: made.append(said), sizes=sizes)
    assert found.outcome == "not tested"
    assert (found.scale, found.charts, len(found.verdicts)) == ("full", (), 1)
    runs = 2 * 2  # weight decay and growing rate, on two seeds
    assert made[-1][1:] == (runs, runs)
    note = found.verdicts[0].note
    assert f"{runs} runs and 3 verdicts" in note
    assert "device cpu, images 64, steps 4, depth 8, seeds (0, 1)" in note
    assert found.criterion == STUDIES["li-2020-exponential-rate"].full_criterion
    assert Study.from_dict(found.to_dict()).to_dict() == found.to_dict()


def test_its_sizes_are_those_of_the_full_scale_wherever_that_asks_for_a_device():
    for name, claim in STUDIES.items():
        full = claim.full.func if isinstance(claim.full, functools.partial) else claim.full
        known = inspect.signature(full).parameters
        assert (claim.smoke is not None) == ("device" in known), name
        assert set(claim.smoke or {}) <= set(known) - {"device"}, name


def test_a_full_scale_that_a_cpu_bears_needs_none():
    with pytest.raises(ValueError, match="sounding study run linear-convergence --scale full"):
        smoke("linear-convergence")
    with pytest.raises(ValueError, match="did you mean he-2015-depth"):
        smoke("he-2015")


def test_without_the_data_it_says_so(monkeypatch):
    def absent(train):
        raise FileNotFoundError("no CIFAR-10 here")

    monkeypatch.setattr(samples, "cifar10", absent)
    samples.cifar.cache_clear()
    with pytest.raises(ValueError, match="no smoke run of he-2015-depth: no CIFAR-10 here"):
        smoke("he-2015-depth")


def test_what_ends_early_is_no_smoke_run(sixteen_images):
    """One step trains nothing, so that Brock's arm with clipping would not be reached."""
    sixteen_images(brock)
    sizes = {"steps": 1, "branches": 3, "channels": 2, "lrs": (1e-9,), "images": None}
    with pytest.raises(ValueError, match="trains on all seeds at no rate"):
        smoke("brock-2021-clipping", sizes=sizes)


def test_nothing_of_it_is_stored(tmp_path):
    store = tmp_path / "s.sqlite"
    called = ["study", "run", "he-2015-depth", "--smoke", "--store", str(store)]
    result = CliRunner().invoke(main, called)
    assert result.exit_code != 0
    assert "leave out --store" in str(result.output) + str(result.exception)
    assert not store.exists()
