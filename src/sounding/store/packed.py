"""What a run returns as JSON text and one blob of numbers, and back; never a pickle.

An array stands in the text as ``{"$array": [dtype, shape, offset]}`` and in the blob as its bytes;
a number that JSON lacks, as ``{"$float": "nan"}``. So any program that reads SQLite and JSON reads
a store.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

LARGEST = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}  # bytes of an array's number, by its kind


def canonical(settings: Mapping[str, Any]) -> str:
    """The one JSON text of `settings`: equal settings have equal texts, in whatever order given.

    Raises:
        TypeError: If a value is no number, string, truth value, None, list or dict of these.
        ValueError: If a number is not finite.
    """
    text, blob = pack(settings, "settings")
    if blob or '"$' in text:
        raise ValueError(
            f"settings are part of a key: finite numbers, strings, lists and dicts, not {settings}"
        )
    return text


def pack(values: Mapping[str, Any], name: str = "values") -> tuple[str, bytes]:
    """The text and the blob of `values`: numbers, strings, lists, dicts and numpy arrays.

    Tuples become lists, numpy's scalars plain numbers; an array keeps its shape and dtype, but for
    the order of the bytes.

    Raises:
        TypeError: If something else is in it; says where.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} are a dict, not a {type(values).__name__}")
    blob = bytearray()
    plain = _plain(values, name, blob)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False), bytes(blob)


def unpack(text: str, blob: bytes) -> dict[str, Any]:
    """The inverse of :func:`pack`.

    Raises:
        ValueError: If text and blob do not belong together.
    """

    def read(entry: dict[str, Any]) -> Any:
        if "$array" in entry:
            return _array(blob, *entry["$array"])
        return float(entry["$float"]) if "$float" in entry else entry

    return json.loads(text, object_hook=read)


def _plain(value: Any, where: str, blob: bytearray) -> Any:
    if isinstance(value, np.ndarray):
        return _entry(value, where, blob)
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return _plain(value.item(), where, blob)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise TypeError(f"{where} has the key {key!r}; use strings that begin without '$'")
        return {key: _plain(v, f"{where}[{key!r}]", blob) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{i}]", blob) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{where} is a {type(value).__name__}; a store keeps numbers, strings, lists, dicts and "
        "numpy arrays (tensor.numpy(force=True) makes one of a tensor)"
    )


def _entry(array: np.ndarray, where: str, blob: bytearray) -> dict[str, Any]:
    if array.dtype.itemsize > LARGEST.get(array.dtype.kind, 0):
        raise TypeError(
            f"{where} is an array of {array.dtype}; a store keeps truth values, integers, and real "
            "and complex numbers of double precision at most"
        )
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    entry = {"$array": [array.dtype.str, list(array.shape), len(blob)]}
    blob += array.tobytes()
    return entry


def _array(blob: bytes, dtype: str, shape: list[int], offset: int) -> np.ndarray:
    flat = np.frombuffer(blob, np.dtype(dtype), math.prod(shape), offset)
    return flat.reshape(shape).copy()  # a view of bytes could not be written to
