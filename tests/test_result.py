"""What every result does: plain numbers, saved whole or not at all."""

import dataclasses
import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from sounding.result import NotApplicable, Profile, Result, Series, write_text


def series():
    return Series(
        quantity="training loss", unit="", steps=np.arange(3), values=np.array([1.0, math.nan, 0.5])
    )


def test_plain_values_tagged_with_their_kind():
    assert series().to_dict() == {
        "kind": "Series",
        "quantity": "training loss",
        "unit": "",
        "steps": [0, 1, 2],
        "values": [1.0, "nan", 0.5],
    }
    assert json.dumps(series().to_dict(), allow_nan=False)


def test_a_result_is_frozen_and_compares_by_identity():
    one = series()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.unit = "s"
    assert one != series()  # arrays have no one truth value


def test_numbers_keep_their_type_and_their_last_bit():
    loaded = Series.from_dict(json.loads(json.dumps(series().to_dict())))
    assert loaded.steps.dtype == np.int64
    assert loaded.values.dtype == np.float64
    exact = np.array([0.1, 1 / 3, math.pi, 5e-324, 1.7976931348623157e308])
    again = Series.from_dict(
        json.loads(json.dumps(dataclasses.replace(series(), values=exact).to_dict()))
    )
    assert again.values.tolist() == exact.tolist()


def test_arrays_of_any_shape():
    @dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
    class Grid(Result):
        values: np.ndarray

    for values in (np.zeros((2, 3)), np.array([[math.nan, 1.0]]), np.zeros(0)):
        loaded = Grid.from_dict(json.loads(json.dumps(Grid(values=values).to_dict())))
        assert np.array_equal(loaded.values, values, equal_nan=True)
        assert loaded.values.shape == values.shape
    flags = Profile(
        quantity="dead", unit="", layers=("a", "b"), values=np.array([True, False]),
        error=np.zeros(2),
    )  # fmt: skip
    assert Profile.from_dict(flags.to_dict()).values.dtype == bool


@pytest.mark.parametrize("data", [{}, [], None, {"kind": "Profile"}, {"kind": "Series"}])
def test_what_is_no_series_is_said_in_one_sentence(data):
    with pytest.raises(ValueError, match=r"expected a saved Series|incomplete"):
        Series.from_dict(data)


def test_saving_never_overwrites_by_accident(tmp_path):
    path = series().save(tmp_path / "loss.json")
    before = path.read_text()
    with pytest.raises(FileExistsError, match=r"loss\.json exists; choose another name"):
        dataclasses.replace(series(), unit="s").save(path)
    assert path.read_text() == before
    dataclasses.replace(series(), unit="s").save(path, overwrite=True)
    assert path.read_text() != before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*missing"):
        series().save(tmp_path / "missing" / "loss.json")


@pytest.mark.parametrize("existing", [None, "what was there"])
def test_a_failure_leaves_no_half_file(tmp_path, monkeypatch, existing):
    path = tmp_path / "loss.json"
    if existing is not None:
        path.write_text(existing)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ([] if existing is None else ["loss.json"])
    assert existing is None or path.read_text() == existing


def test_files_are_as_readable_as_the_users_others(tmp_path):
    old = os.umask(0o027)
    try:
        path = write_text(tmp_path / "a.txt", "ä")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text(encoding="utf-8") == "ä"


def test_not_applicable_is_an_exception_of_its_own():
    with pytest.raises(NotApplicable, match="no layers"):
        raise NotApplicable("no layers")
