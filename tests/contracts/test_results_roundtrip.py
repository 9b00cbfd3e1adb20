"""Every result saves and loads equal, whatever its class; a damaged file gets one clear sentence.

The results are made from the classes' own annotations, with the awkward values in them: NaN,
infinity, nothing, empty tuples. So a new class, or a new field of a kind that is not read back,
fails here.
"""

import dataclasses
import importlib
import json
import math
import pkgutil
import types
import typing

import numpy as np
import pytest

import sounding
from sounding.load import KINDS, load
from sounding.result import Result


def _classes():
    """All classes of results in the package."""
    for module in pkgutil.walk_packages(sounding.__path__, "sounding."):
        if not module.name.endswith("__main__") and "integrations." not in module.name:
            importlib.import_module(module.name)
    found, todo = [], [Result]
    while todo:
        for kind in todo.pop().__subclasses__():
            todo.append(kind)
            if kind.__module__.startswith("sounding."):
                found.append(kind)
    return sorted(found, key=lambda kind: kind.__name__)


def example(kind, *, full):
    """A result with every field filled, or with as little as its annotations allow."""
    hints = typing.get_type_hints(kind)
    fields = [f for f in dataclasses.fields(kind) if f.metadata.get("saved", True)]
    return kind(**{f.name: _value(hints[f.name], full) for f in fields})


def _value(hint, full):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if not full and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), full)
    if origin is tuple:
        return tuple(_value(arguments[0], full) for _ in range(2 * full))
    if origin is dict:
        return (
            {"a": _value(arguments[1], full), "ü </b>": _value(arguments[1], full)} if full else {}
        )
    if isinstance(hint, type) and issubclass(hint, Result):
        return example(hint, full=full)
    awkward = {
        str: 'a "quoted" </script> ä\n' if full else "",
        float: math.inf if full else math.nan,
        int: 2**40 if full else 0,
        bool: full,
        np.ndarray: np.array([0.1, math.nan, -math.inf, 1e-300]) if full else np.zeros(0),
    }
    return awkward[hint]


def equal(one, other):
    """Equal to the last bit, NaN included; containers of the same type."""
    if isinstance(one, Result):
        names = [f.name for f in dataclasses.fields(one)]
        return type(one) is type(other) and all(
            equal(getattr(one, n), getattr(other, n)) for n in names
        )
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other, equal_nan=True)
    if isinstance(one, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_saves_and_reads_back_equal(kind, full, tmp_path):
    result = example(kind, full=full)
    path = result.save(tmp_path / "result.json")
    text = path.read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=pytest.fail)  # JSON has no NaN
    assert equal(kind.from_dict(document["result"]), result)
    if kind in KINDS:
        assert equal(load(path), result)


def test_everything_that_a_user_is_handed_can_be_loaded():
    returned = {"Checkup", "Proof", "Repair", "Run", "Study", "Trial", "Verdict", "Readings"}
    assert returned <= {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_truncated_file_is_one_sentence(kind, tmp_path):
    whole = example(kind, full=True).save(tmp_path / "whole.json").read_bytes()
    path = tmp_path / "cut.json"
    for length in {0, 1, len(whole) - 1, *range(0, len(whole), max(len(whole) // 40, 1))}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.json is no whole JSON file") as caught:
            load(path)
        assert "\n" not in str(caught.value)


FOREIGN = {
    "not JSON": b"\x80\x04\x95\x00pickle",
    "a picture": b"\x89PNG\r\n\x1a\n\xff\xfe",
    "another program's JSON": b'{"model": "x", "loss": [1, 2]}',
    "a list": b"[1, 2, 3]",
    "a number": b"7",
    "nothing in it": b'{"sounding": 1}',
    "an unknown kind": b'{"sounding": 1, "result": {"kind": "Seance"}}',
    "a later version": b'{"sounding": 99, "result": {"kind": "Series"}}',
    "a missing field": b'{"sounding": 1, "result": {"kind": "Series", "unit": ""}}',
    "a field of another kind": (
        b'{"sounding": 1, "result": {"kind": "Series", "quantity": "loss", "unit": "",'
        b' "steps": 5, "values": [0.5]}}'
    ),
    "words for numbers": (
        b'{"sounding": 1, "result": {"kind": "Series", "quantity": "loss", "unit": "",'
        b' "steps": [0], "values": ["low"]}}'
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_file_is_one_sentence(case, tmp_path):
    path = tmp_path / "foreign.json"
    path.write_bytes(FOREIGN[case])
    with pytest.raises(ValueError, match=r"foreign\.json") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_field_of_another_type_never_escapes_as_another_error(kind, tmp_path):
    whole = example(kind, full=True).to_dict()
    path = tmp_path / "damaged.json"
    for name in whole:
        for wrong in (None, 3, "text", [], {}, [None]):
            document = {"sounding": 1, "result": whole | {name: wrong}}
            path.write_text(json.dumps(document))
            assert "\n" not in _complaint(path)


def _complaint(path):
    """What is said about the file; '' where a field takes what it gets."""
    try:
        load(path)
    except ValueError as error:
        return str(error)
    return ""


def test_a_later_versions_extra_field_is_left_out(tmp_path):
    series = next(k for k in KINDS if k.__name__ == "Series")
    result = example(series, full=True)
    document = {"sounding": 1, "result": result.to_dict() | {"weather": "fine"}}
    path = tmp_path / "newer.json"
    path.write_text(json.dumps(document))
    assert equal(load(path), result)
