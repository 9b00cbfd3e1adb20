"""The main path as a whole: what lies between the weighted calls, and what goes around it."""

from __future__ import annotations

from sounding.measure.readings import Readings

POOLS = ("pool", "mean", "amax")  # in the name of an operation that joins positions


def unrepeated(readings: Readings) -> list[int]:
    """The weighted calls on the main path, input first; of a repeated weight the last call.

    A recurrence calls the same weights at every step: its early steps may get no gradient while the
    weights get all they need from the late ones.
    """
    last = {readings.calls[i].weight or i: i for i in readings.path}
    return sorted(last.values())


def trunk(readings: Readings, path: list[int]) -> list[int]:
    """All calls on the main path from the first to the last of `path`."""
    calls = []
    at = path[-1] if path else -1
    while at >= 0:
        calls.append(at)
        at = readings.calls[at].main if at > path[0] else -1
    return calls[::-1]


def last_normalisation(readings: Readings, path: list[int]) -> int:
    """The last normalisation between the first and the last of `path`, -1 without one."""
    found = [i for i in trunk(readings, path) if readings.calls[i].role == "normalisation"]
    return found[-1] if found else -1


def bridges(readings: Readings, calls: list[int]) -> list[tuple[int, int]]:
    """(from, to) of every connection that leaves the calls of a trunk and joins them again."""
    known = set(calls)
    found = []
    for to in calls[1:]:
        aside = [i for i in readings.calls[to].inputs if i != readings.calls[to].main]
        found += [(i, to) for i in _reached(readings, aside, known)]
    return found


def bypassed(call: int, around: list[tuple[int, int]]) -> bool:
    """Whether one of the `bridges` leads around the call, so that it cannot block the others."""
    return any(start < call < end for start, end in around)


def _reached(readings: Readings, calls: list[int], known: set[int]) -> set[int]:
    """The calls of `known` that these come from, by any way outside of it."""
    seen, waiting = set(), list(calls)
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        if at not in known:
            waiting += readings.calls[at].inputs
    return seen & known
