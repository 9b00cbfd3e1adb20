"""The chart of a spectrum as data: what it draws, whatever draws it.

Letters: k eigenvalues, G grid points, S starts of m Lanczos steps.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.spectrum import Spectrum
from sounding.view.bulk import CLEAR, bulk, core
from sounding.view.numbers import number, power_of_ten
from sounding.view.svg import Axis

ROOT_TWO_PI = math.sqrt(2 * math.pi)
NARROW = 0.1  # share of a linear axis below which most of the eigenvalues could not be seen
FAR = 100.0  # ratio of the found eigenvalues' sizes from which a linear axis hides the small ones


@dataclasses.dataclass(frozen=True)
class Scale:
    """Places between 0 and 1 for the eigenvalues from `low` to `high`.

    A bent scale is the inverse hyperbolic sine: linear within `bend` of zero, logarithmic beyond,
    on both sides.
    """

    low: float
    high: float
    bend: float = 0.0  # 0: linear throughout

    def __call__(self, value: Any) -> Any:
        """The place of a number, or of each of an array, held between 0 and 1."""
        low, high = self._bent(self.low), self._bent(self.high)
        return np.clip((self._bent(value) - low) / (high - low), 0.0, 1.0)

    def values(self, places: np.ndarray) -> np.ndarray:
        """The eigenvalues at some places."""
        low, high = self._bent(self.low), self._bent(self.high)
        bent = low + places * (high - low)
        return np.sinh(bent) * self.bend if self.bend else bent

    def ticks(self, most: int, *, ascii_only: bool = False) -> list[tuple[float, str]]:
        """At most about `most` places with their labels."""
        ticks = self._bent_ticks(most, ascii_only) if self.bend else self._linear_ticks(most)
        minus = "-" if ascii_only else "−"
        return [(place, label.replace("−", minus).replace("-", minus)) for place, label in ticks]

    def _bent(self, value: Any) -> Any:
        return np.arcsinh(np.asarray(value) / self.bend) if self.bend else np.asarray(value)

    def _linear_ticks(self, most: int) -> list[tuple[float, str]]:
        extent = self.high - self.low
        ticks = []
        for place, label in Axis(self.low, self.high, 0.0, 1.0).ticks(most):
            value = self.low + place * extent
            if abs(value) < 1e-9 * extent:
                label = "0"
            elif len(label) > 6 or abs(value) < 1e-3:
                label = number(value)
            ticks.append((place, label))
        return ticks

    def _bent_ticks(self, most: int, ascii_only: bool) -> list[tuple[float, str]]:
        """Zero, powers of ten, and five and two times these where there is room."""
        last = math.floor(math.log10(max(abs(self.low), abs(self.high))))
        powers = range(last, math.floor(math.log10(self.bend)) - 1, -1)
        shown = {0.0: (float(self(0.0)), "0")}
        for first in (1, 5, 2):
            for value in (sign * first * 10.0**p for p in powers for sign in (1, -1)):
                place = float(self(value))
                near = min(abs(place - other) for other, _ in shown.values())
                if self.low <= value <= self.high and near >= 1 / most:
                    shown[value] = place, number(value) if ascii_only else _tick(value, first)
        return sorted(shown.values())


def _tick(value: float, first: int) -> str:
    """'10⁴', '-10⁻³', '5', '-0.2'."""
    power = round(math.log10(abs(value) / first))
    if -2 <= power <= 3:
        return f"{value:g}"
    multiple = "" if first == 1 else f"{first}·"
    return f"{'-' if value < 0 else ''}{multiple}{power_of_ten(power)}"


@dataclasses.dataclass(frozen=True)
class Stick:
    """One eigenvalue that was found."""

    end: str  # 'largest' or 'smallest'
    rank: int  # from 1, the outermost
    value: float
    residual: float
    error: float
    outlier: bool | None  # beyond the bulk's edge; None where no bulk is known


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """Everything of the chart of a spectrum."""

    ends: tuple[Eigenpairs, ...]
    density: Density | None  # None where there is none that can be drawn
    scale: Scale
    floor: float  # where the density's logarithmic axis starts
    top: float  # where it ends
    one: float  # height of a single eigenvalue, smoothed as the density is
    bulk: tuple[float, float] | None  # as far as eigenvalues are close together
    lowest: float  # the lowest eigenvalue known, nan without any

    def sticks(self) -> list[Stick]:
        """The eigenvalues found, largest first at either end, those that are numbers."""
        return [
            Stick(
                end=pairs.which,
                rank=i + 1,
                value=float(pairs.values[i]),
                residual=float(pairs.residuals[i]),
                error=float(pairs.errors[i]),
                outlier=self._outlier(float(pairs.values[i])),
            )
            for pairs in self.ends
            for i in range(len(pairs.values))
        ]

    def _outlier(self, value: float) -> bool | None:
        if self.bulk is None or self.density is None or not math.isfinite(value):
            return None
        slack = CLEAR * self.density.width  # the smoothing tells nothing finer
        return not self.bulk[0] - slack <= value <= self.bulk[1] + slack

    def empty(self) -> bool:
        """Whether there is nothing that could be drawn."""
        return self.density is None and not any(math.isfinite(s.value) for s in self.sticks())

    def below_zero(self) -> bool:
        """Whether there is a part below zero that is wide enough to be seen."""
        return self.lowest < 0 and float(self.scale(0.0) - self.scale(self.lowest)) > 1e-3

    def height(self, density: Any) -> Any:
        """Places between 0 and 1 on the density's logarithmic axis; nan becomes 0."""
        low, high = math.log10(self.floor), math.log10(self.top)
        with np.errstate(divide="ignore", invalid="ignore"):
            place = (np.log10(np.maximum(density, 0.0)) - low) / (high - low)
        return np.clip(np.nan_to_num(place, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)

    def columns(self, count: int) -> Columns:
        """The density in `count` columns of equal width, the highest value in each."""
        assert self.density is not None
        edges = self.scale.values(np.linspace(0.0, 1.0, count + 1))
        centres = self.scale.values((np.arange(count) + 0.5) / count)
        grid, values = self.density.grid, np.nan_to_num(self.density.values)
        error = 2 * np.nan_to_num(self.density.error)
        shown = [np.interp(centres, grid, v, left=0.0, right=0.0) for v in (values, error)]
        column = np.searchsorted(edges, grid, side="right") - 1
        for i in np.flatnonzero((column >= 0) & (column < count)):
            if values[i] > shown[0][column[i]]:
                shown[0][column[i]], shown[1][column[i]] = values[i], error[i]
        return Columns(centres, shown[0], shown[0] - shown[1], shown[0] + shown[1])


@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """The density at some eigenvalues, with two standard errors either way."""

    at: np.ndarray  # (C,) eigenvalues
    values: np.ndarray  # (C,)
    lower: np.ndarray  # (C,)
    upper: np.ndarray  # (C,)


def spectrum_chart(result: Spectrum | Eigenpairs | Density) -> Chart:
    """The chart of a spectrum, of one end of it, or of a density alone."""
    if isinstance(result, Spectrum):
        ends, density = (result.largest, result.smallest), result.density
    elif isinstance(result, Eigenpairs):
        ends, density = (result,), None
    else:
        ends, density = (), result
    density = density if density is not None and _drawable(density) else None
    floor, top, one = _heights(density)
    known = _known(ends, density)
    edges = None if density is None else bulk(density, known)
    return Chart(
        ends=ends,
        density=density,
        scale=_scale(ends, density, floor),
        floor=floor,
        top=top,
        one=one,
        bulk=edges,
        lowest=min(known, default=math.nan),
    )


def _drawable(density: Density) -> bool:
    return bool(np.any(np.isfinite(density.values) & (density.values > 0)))


def _heights(density: Density | None) -> tuple[float, float, float]:
    """Floor and top of the density's axis, and the height of one eigenvalue."""
    if density is None:
        return 0.1, 1.0, 0.5
    highest = float(np.nanmax(np.where(np.isfinite(density.values), density.values, 0.0)))
    spread = density.size * density.width * ROOT_TWO_PI
    one = 1 / spread if math.isfinite(spread) and spread > 0 else highest * 1e-4
    one = min(max(one, highest * 1e-12), highest)
    return min(one / 3, highest / 30), highest * 1.6, one


def _known(ends: tuple[Eigenpairs, ...], density: Density | None) -> list[float]:
    """Eigenvalues, found ones or nodes of the quadrature: none lies outside the spectrum."""
    found = [float(v) for pairs in ends for v in pairs.values]
    if density is not None:
        nodes, weights = np.ravel(density.nodes), np.ravel(density.weights)
        if len(nodes) == len(weights):
            nodes = nodes[weights > 0]
        found += [float(v) for v in nodes]
    return [v for v in found if math.isfinite(v)]


def _errors(ends: tuple[Eigenpairs, ...]) -> list[float]:
    """Where the residual bars end, and the bounds beyond which nothing lies."""
    bars = [
        float(value) + sign * float(residual)
        for pairs in ends
        for value, residual in zip(pairs.values, pairs.residuals, strict=False)
        for sign in (-1, 1)
    ]
    return [*bars, *(float(pairs.bound) for pairs in ends)]


def _scale(
    ends: tuple[Eigenpairs, ...],
    density: Density | None,
    floor: float,
) -> Scale:
    """A linear axis, or a bent one where a linear one would hide most of the eigenvalues."""
    found = [float(v) for pairs in ends for v in pairs.values if math.isfinite(v)]
    shown = [*found, *_known(ends, density)]
    if density is not None:
        with np.errstate(invalid="ignore"):
            seen = density.values + 2 * np.nan_to_num(density.error) >= floor
        shown += [float(v) for v in density.grid[seen] if math.isfinite(v)]
    low, high = min(shown, default=-1.0), max(shown, default=1.0)
    if low - (high - low) * 3 <= 0 <= high + (high - low) * 3 or low == high:
        low, high = min(low, 0.0), max(high, 0.0)  # the sign is what matters most
    if low == high:
        low, high = -1.0, 1.0
    reach = (high - low) / 2  # errors that are farther away would squeeze what was found
    near = [v for v in _errors(ends) if low - reach <= v <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    bend = _bend(found, high - low, density)
    if bend:
        room = 1.3
        return Scale(low * room if low < 0 else -bend, high * room if high > 0 else bend, bend)
    room = 0.04 * (high - low)
    return Scale(low - room, high + room)


def _bend(found: list[float], extent: float, density: Density | None) -> float:
    """Where the axis turns logarithmic; 0 where a linear one shows everything."""
    if density is not None:
        inside = core(density)
        return inside if 0 < inside < NARROW * extent else 0.0
    sizes = [abs(v) for v in found if v != 0]
    if not sizes or max(sizes) < FAR * min(sizes):
        return 0.0
    return max(min(sizes), max(sizes) * 1e-9)
