"""What every public function returns: a frozen record that outlives the model measured."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
import types
import typing
from pathlib import Path
from typing import Any, Self

import numpy as np

SCHEMA = 1  # raised when a saved file of an older version can no longer be read as it is


class NotApplicable(Exception):
    """A measurement, rule or remedy that has no meaning here; it becomes a row of the report."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Base of all results: plain numbers on the CPU that save, load, draw and print themselves."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, tagged with their ``kind``; non-finite numbers become strings.

        A field whose metadata say ``saved=False`` (a large tensor) stays with the object alone.
        """
        kept = [f.name for f in dataclasses.fields(self) if f.metadata.get("saved", True)]
        return {"kind": type(self).__name__, **{name: _plain(getattr(self, name)) for name in kept}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; unknown keys of a later version are left out.

        Raises:
            ValueError: If `data` is of another kind or lacks a field.
        """
        if not isinstance(data, dict) or data.get("kind") != cls.__name__:
            found = data.get("kind") if isinstance(data, dict) else type(data).__name__
            raise ValueError(f"expected a saved {cls.__name__}, found {found!r}")
        hints = typing.get_type_hints(cls)
        values = {}
        for field in dataclasses.fields(cls):
            if field.name in data:
                try:
                    values[field.name] = _typed(data[field.name], hints[field.name])
                except (TypeError, AttributeError) as error:
                    name = f"{field.name!r} of a saved {cls.__name__}"
                    raise ValueError(f"{name} does not read: {error}") from error
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"a saved {cls.__name__} is incomplete: {error}") from error

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write this result as JSON, whole or not at all.

        Raises:
            FileExistsError: If `path` exists and `overwrite` is not set.
        """
        document = {"sounding": SCHEMA, "result": self.to_dict()}
        return write_text(path, json.dumps(document, allow_nan=False), overwrite=overwrite)

    def plot(self, ax: Any = None) -> Any:
        """Draw this result with matplotlib on `ax` (a new figure's axis without one)."""
        from sounding import view  # the one door upwards: a result knows how it is looked at

        return view.plot(self, ax)

    def _repr_html_(self) -> str:
        from sounding import view

        return view.html(self)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Profile(Result):
    """One number a layer."""

    quantity: str  # 'gradient rms', ...
    unit: str  # '' for a pure number
    layers: tuple[str, ...]  # (L,)
    values: np.ndarray  # (L,)
    error: np.ndarray  # (L,) one standard error; nan where it is not known
    expected: np.ndarray | None = None  # (L,) what theory predicts
    source: str = ""  # where the expectation comes from


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Series(Result):
    """One number a step."""

    quantity: str
    unit: str
    steps: np.ndarray  # (T,) step numbers
    values: np.ndarray  # (T,)


def write_text(path: str | os.PathLike[str], text: str, *, overwrite: bool = False) -> Path:
    """Write `text` to `path` through a temporary file beside it, so that no half file is left.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is not set.
        FileNotFoundError: If its folder does not exist.
        OSError: If the folder cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name, or overwrite it on purpose")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _plain(value: Any) -> Any:  # noqa: PLR0911 - a table of types reads best as returns
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # 'nan', 'inf', '-inf': JSON has no such numbers
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _typed(value: Any, hint: Any) -> Any:  # noqa: PLR0911 - as above
    """`value`, read from JSON, as the field's annotation wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        return _typed(value, kinds[0]) if len(kinds) == 1 else value
    if origin is tuple:
        return tuple(_typed(v, arguments[0]) for v in value)
    if origin is dict:
        return {k: _typed(v, arguments[1]) for k, v in value.items()}
    if hint is np.ndarray:
        return _array(value)
    if hint is float:
        return float(value)
    if isinstance(hint, type) and issubclass(hint, Result):
        return hint.from_dict(value)
    return value


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, list):
        raise TypeError(f"expected a list of numbers, found {type(value).__name__}")
    if all(isinstance(v, bool) for v in value) and value:
        return np.array(value, dtype=bool)
    if all(isinstance(v, int) for v in value) and value:
        return np.array(value, dtype=np.int64)
    return np.array(value, dtype=np.float64)
