"""Two arms of an experiment as inline SVG: paired dots with the interval, and loss curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from sounding.result import Series
from sounding.verdict import Verdict
from sounding.view.numbers import percent
from sounding.view.svg import (
    Axis,
    apart,
    fitted,
    group,
    horizontal_grid,
    marker,
    path,
    shortened,
    tag,
    vertical_ticks,
)
from sounding.view.wording import DECADES, effect, judged, outcomes, quantity

WIDTH, LEFT, RIGHT = 360.0, 52.0, 16.0
POINTS = 240  # of a loss curve; more would not be seen at this width
ARMS = ("untreated", "treated")


def paired_svg(verdict: Verdict, key: str, names: tuple[str, str] = ARMS) -> Markup:
    """A row a seed, from the first arm's dot to the second's; below them the mean difference."""
    before, after = outcomes(verdict)
    n = min(len(verdict.seeds), len(before), len(after))
    row = max(7.0, min(20.0, 240.0 / max(n, 1)))
    top, rows = 30.0, row * n
    log_from = 10 if verdict.unit.startswith(DECADES) else math.inf
    across = fitted([*before, *after], LEFT + 8, WIDTH - RIGHT, log_from=log_from)
    bottom = top + rows + 6
    drawn = [
        _legend(quantity(verdict), *(shortened(name, 12) for name in names)),
        _vertical_grid(across, top - 6, bottom),
        *(
            _seed_row(verdict.seeds[i], (before[i], after[i]), top + row * (i + 0.5), across, row)
            for i in range(n)
        ),
        vertical_ticks(across, bottom, most=7),
    ]
    if not math.isfinite(verdict.effect):
        return _figure("Paired seeds", judged(verdict), drawn, bottom + 20, key)
    drawn.append(_interval(verdict, bottom + 52))
    return _figure("Paired seeds", judged(verdict), drawn, bottom + 92, key)


def _legend(what: str, first: str, second: str) -> Markup:
    after = WIDTH - 8 * len(second)
    before = after - 16 - 8 * len(first)
    return group(
        (
            tag("text", what, x=0, y=13, class_="panel"),
            tag("path", d=marker("circle", before - 8, 9, 3.6), class_="arm before"),
            tag("text", first, x=before, y=13, class_="label"),
            tag("path", d=marker("circle", after - 8, 9, 3.6), class_="arm after"),
            tag("text", second, x=after, y=13, class_="label"),
        )
    )


def _vertical_grid(across: Axis, top: float, bottom: float) -> Markup:
    return group(
        tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid") for x, _ in across.ticks(7)
    )


def _seed_row(seed: int, pair: tuple[float, float], y: float, across: Axis, row: float) -> Markup:
    before, after = map(float, pair)
    size = min(4.0, row / 2.6)
    named = row >= 11 or seed % 5 == 0
    return group(
        (
            tag("text", f"seed {seed}" if named else "", x=0, y=y + 4, class_="tick"),
            tag("path", d=path([(x, y) for x in map(across, (before, after))]), class_="pair"),
            _arm(before, "before", y, across, size),
            _arm(after, "after", y, across, size),
        )
    )


def _arm(value: float, arm: str, y: float, across: Axis, size: float) -> Markup:
    """A dot, or a cross at the right edge for a run that diverged."""
    if not math.isnan(across(value)) and math.isfinite(value):
        return tag("path", d=marker("circle", across(value), y, size), class_=f"arm {arm}")
    return tag("path", d=marker("cross", across.end + 8, y, size), class_="broken")


def _interval(verdict: Verdict, y: float) -> Markup:
    """The mean difference with its interval on an axis that holds zero."""
    across = fitted([verdict.effect, *verdict.interval], LEFT + 8, WIDTH - RIGHT, zero=True)
    ends = [across(v) for v in verdict.interval if math.isfinite(v)] or [across(verdict.effect)]
    said = f"Mean difference {effect(verdict)}, {percent(verdict.level)}"
    return group(
        (
            tag("text", said.replace("-", "−"), x=0, y=y - 14, class_="label strong"),
            tag("line", x1=across(0), x2=across(0), y1=y - 6, y2=y + 20, class_="zero"),
            tag("line", x1=min(ends), x2=max(ends), y1=y + 8, y2=y + 8, class_="interval"),
            tag("path", d=marker("circle", across(verdict.effect), y + 8, 4.4), class_="effect"),
            vertical_ticks(across, y + 20, most=7),
        )
    )


def losses_svg(before: Sequence[Series], after: Sequence[Series], key: str) -> Markup:
    """Loss curves of both arms: thin a seed, thick the median of the seeds."""
    arms = {"before": _drawn(before), "after": _drawn(after)}
    every = [values for runs in arms.values() for _, values in runs]
    top, bottom, right = 30.0, 236.0, WIDTH - 74.0
    if not every:
        return Markup("")
    steps = [float(s) for runs in arms.values() for at, _ in runs for s in (at[0], at[-1])]
    across = Axis(min(steps), max(max(steps), min(steps) + 1), LEFT - 10, right)
    down = fitted([v for values in every for v in values if v > 0], bottom, top, log_from=10)
    drawn = [
        tag("text", "Training loss", x=0, y=13, class_="panel"),
        horizontal_grid(down, LEFT - 10, right, most=5),
        *(_arm_curves(arm, runs, across, down) for arm, runs in arms.items()),
        _arm_labels(arms, right, down),
        vertical_ticks(across, bottom, most=5),
        tag("text", "step", x=right, y=bottom + 30, class_="tick end"),
    ]
    return _figure("Loss curves", "Training loss of both arms over steps", drawn, bottom + 36, key)


def _drawn(runs: Sequence[Series]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps and values of each run that has any, thinned to what can be seen."""
    thin = []
    for run in runs:
        if len(run.steps):
            at = np.unique(np.linspace(0, len(run.steps) - 1, POINTS).round().astype(int))
            thin.append((np.asarray(run.steps)[at], np.asarray(run.values, dtype=float)[at]))
    return thin


def _arm_curves(
    arm: str, runs: list[tuple[np.ndarray, np.ndarray]], across: Axis, down: Axis
) -> Markup:
    def line(at: np.ndarray, values: np.ndarray, kind: str) -> Markup:
        points = [(across(s), down(v)) for s, v in zip(at, values, strict=True)]
        return tag("path", d=path(points), class_=f"run {arm} {kind}")

    lines = [line(at, values, "one") for at, values in runs]
    middle = _median(runs)
    return group([*lines, line(*middle, "median")] if middle else lines)


def _median(runs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray] | None:
    """The median over the seeds, where all were recorded at the same steps."""
    if not runs or any(not np.array_equal(at, runs[0][0]) for at, _ in runs):
        return None
    values = np.stack([v for _, v in runs])
    return runs[0][0], np.median(np.where(np.isfinite(values), values, np.inf), axis=0)


def _arm_labels(
    arms: dict[str, list[tuple[np.ndarray, np.ndarray]]], right: float, down: Axis
) -> Markup:
    ends = []
    for runs in arms.values():
        last = [down(values[-1]) for _, values in runs]
        known = [y for y in last if not math.isnan(y)]
        ends.append(float(np.median(known)) if known else down.end)
    words = {"before": "untreated", "after": "treated"}
    return group(
        tag("text", words[arm], x=right + 8, y=y + 4, class_="label strong")
        for arm, y in zip(arms, apart(ends, 16), strict=True)
    )


def _figure(
    title: str, description: str, drawn: Sequence[Markup], height: float, key: str
) -> Markup:
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-desc"),
        *drawn,
        class_="chart small",
        viewbox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )
