"""Make the record of a long run smaller: what is old becomes coarse, what is recent stays."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

RECENT = 0.25  # of the entries of a kind, the last ones, which are left as they are
KEPT = ("run", "training", "layers", "checkup", "end")  # kinds that are never thinned
BLOCK = 512  # rows of a block of merged steps
COLUMNS = ("loss", "gradient_norm", "clipped_from", "lr", "seconds", "waited")  # of a step
# Of what a merged row keeps the extremes. A loss that is nan makes its extreme nan: it stays seen.
EDGES = {
    "low": ("loss", np.minimum),
    "high": ("loss", np.maximum),
    "peak": ("gradient_norm", np.fmax),
}

Entry = dict[str, Any]


def thinned(entries: Callable[[], Iterable[Entry]]) -> Iterator[Entry]:
    """The same run in about two thirds of the space or less, in the same order.

    Old steps are merged in pairs, into their mean and the extremes of loss and gradient; of old
    evaluations and other old entries every second one is left out, the first and the last one
    never. `entries` is called twice, so that a long run need not stand in memory.
    """
    counts = collections.Counter(map(_series, entries()))
    seen: collections.Counter[Any] = collections.Counter()
    waiting: dict[Any, list[Entry]] = {}  # old blocks of steps, to be merged
    for entry in entries():
        series = _series(entry)
        at = seen[series]
        seen[series] += 1
        old = at < (1 - RECENT) * counts[series] and at < counts[series] - 1
        if entry["kind"] == "steps":
            blocks = waiting.setdefault(series, [])
            if old:
                blocks.append(rows(entry))
            if blocks and (not old or sum(len(b["loss"]) for b in blocks) >= 2 * BLOCK):
                yield merged(blocks)
                blocks.clear()
            if not old:
                yield entry
        elif entry["kind"] == "held_out" and old and len(entry["step"]) > 1:
            yield {**entry, "step": entry["step"][::2], "loss": entry["loss"][::2]}
        elif entry["kind"] in KEPT or not old or at % 2 == 0:
            yield entry


def rows(block: Entry) -> Entry:
    """A block of steps with every column as an array: `step`, the columns, and their extremes.

    A row stands for all steps from its own up to that of the next row.
    """
    loss = _numbers(block["loss"])
    found: Entry = {k: v for k, v in block.items() if k in ("kind", "training")}
    places = block.get("at", 0) + block.get("width", 1) * np.arange(len(loss))
    found["step"] = _numbers(block.get("step", places))
    for name in (*COLUMNS, *EDGES):
        whole = found[EDGES[name][0]] if name in EDGES else np.nan
        values = _numbers(block.get(name, whole))
        found[name] = np.full(len(loss), values) if values.ndim == 0 else values
    if any(values.shape != loss.shape for values in found.values() if hasattr(values, "shape")):
        raise ValueError("columns of different lengths")
    return found


def merged(blocks: list[Entry]) -> Entry:
    """Blocks as :func:`rows` makes them, in one, with half as many rows."""
    names = [name for name, values in blocks[0].items() if isinstance(values, np.ndarray)]
    whole = {name: np.concatenate([block[name] for block in blocks]) for name in names}
    if len(whole["step"]) % 2:
        whole = {name: np.append(values, values[-1]) for name, values in whole.items()}
    widths = np.maximum(np.append(np.diff(whole["step"]), 1.0), 1.0)  # steps of each row
    share = widths[1::2] / (widths[::2] + widths[1::2])
    found = {k: v for k, v in blocks[0].items() if k not in names}
    for name, values in whole.items():
        left, right = values[::2], values[1::2]
        if name == "step":
            found |= _places(left.astype(np.int64))
        elif name in EDGES:
            found[name] = shortest(EDGES[name][1](left, right))
        else:
            mean = _mean(left, right, share)
            found[name] = mean if name == "loss" else shortest(mean)
    return {name: value for name, value in found.items() if value is not None}


def shortest(values: np.ndarray) -> np.ndarray | float | None:
    """One number for all rows where they are equal, nothing where nothing was measured."""
    if np.isnan(values).all():
        return None
    return float(values[0]) if (values == values[0]).all() else values


def _places(steps: np.ndarray) -> Entry:
    """The rows' steps: where they begin, and their distance if it is the same everywhere."""
    widths = np.diff(steps)
    if len(widths) and (widths == widths[0]).all():
        return {"at": int(steps[0]), "width": int(widths[0])}
    return {"step": steps}


def _series(entry: Entry) -> tuple[str, ...]:
    return (entry["kind"], *(str(entry.get(name)) for name in ("training", "name", "set")))


def _numbers(values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float64)  # None becomes nan


def _mean(left: np.ndarray, right: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Nan only where both are: a norm that was measured at every second step stays known."""
    left, right = np.where(np.isnan(left), right, left), np.where(np.isnan(right), left, right)
    with np.errstate(invalid="ignore"):
        return left + np.where(left == right, 0.0, share * (right - left))
