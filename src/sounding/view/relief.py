"""A surface as data for its pictures: how high each loss is drawn, and in which colour.

Letters: A and B places along the axes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sounding.landscape.surface import Surface
from sounding.view.numbers import number
from sounding.view.spectrum import Scale
from sounding.view.svg import Axis

# Viridis, whose lightness rises evenly: it reads without colours, and in print.
COLOURS = (
    "#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58",
    "#b5de2b", "#fde725",
)  # fmt: skip
BANDS = 18
WIDE = 20.0  # ratio of losses from which the scale is logarithmic
FLAT = 0.04  # share of a linear scale below which half of the losses would lie


@dataclasses.dataclass(frozen=True, eq=False)
class Relief:
    """Losses as places between 0 (the lowest) and 1 (the highest) on a scale that is said."""

    surface: Surface
    low: float
    high: float
    kind: str  # 'linear', 'logarithmic' or 'bent'
    bend: float = 0.0

    def __call__(self, values: object) -> np.ndarray:
        """Places of losses; nan where there is no finite one."""
        values = np.asarray(values, float)
        finite = np.where(np.isfinite(values), values, np.nan)
        if self.kind == "bent":
            return np.where(np.isnan(finite), np.nan, Scale(self.low, self.high, self.bend)(finite))
        low, high = self.low, self.high
        if self.kind == "logarithmic":
            low, high = math.log10(low), math.log10(high)
            with np.errstate(divide="ignore", invalid="ignore"):
                finite = np.log10(finite)
        return np.clip((finite - low) / (high - low), 0.0, 1.0)

    def places(self) -> np.ndarray:
        """(A,) or (A, B) of the surface itself."""
        return self(self.surface.values)

    def ticks(self, most: int = 7) -> list[tuple[float, str]]:
        """Places with their losses."""
        if self.kind == "bent":
            return Scale(self.low, self.high, self.bend).ticks(most)
        log = self.kind == "logarithmic"
        ends = (math.log10(self.low), math.log10(self.high)) if log else (self.low, self.high)
        if not log and (max(map(abs, ends)) >= 1e5 or ends[1] - ends[0] < 1e-4):
            values = np.linspace(*ends, 5)
            return [
                (float(p), number(v)) for p, v in zip(np.linspace(0, 1, 5), values, strict=True)
            ]
        return Axis(*ends, 0.0, 1.0, log=log).ticks(most)

    def said(self) -> str:
        """How the scale is to be read."""
        return {
            "linear": "linear scale",
            "logarithmic": "logarithmic scale",
            "bent": f"logarithmic scale, linear below {number(self.bend)}",
        }[self.kind]


def relief(surface: Surface) -> Relief | None:
    """The scale of a surface; None where no loss is finite.

    Logarithmic where all losses are positive and span a factor of `WIDE`; bent (inverse hyperbolic
    sine) where there are others and a linear one would flatten half of them to nothing.
    """
    values = surface.values[np.isfinite(surface.values)]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return Relief(surface, low - room, high + room, "linear")
    if low > 0 and high / low >= WIDE:
        return Relief(surface, low, high, "logarithmic")
    if float(np.median(values)) - low < FLAT * (high - low):
        bend = float(np.median(np.abs(values))) or (high - low) / 1e3
        return Relief(surface, low, high, "bent", bend)
    return Relief(surface, low, high, "linear")


def colour(place: float) -> str:
    """'#rrggbb' of a place between 0 and 1."""
    at = min(max(place, 0.0), 1.0) * (len(COLOURS) - 1)
    i = min(int(at), len(COLOURS) - 2)
    mixed = [a + (at - i) * (b - a) for a, b in zip(_rgb(i), _rgb(i + 1), strict=True)]
    return "#" + "".join(f"{round(c):02x}" for c in mixed)


def _rgb(i: int) -> tuple[int, ...]:
    return tuple(int(COLOURS[i][k : k + 2], 16) for k in (1, 3, 5))


def interpolated(surface: Surface, places: np.ndarray, point: np.ndarray) -> float:
    """The place of the surface at coordinates in between; nan outside, or beside a hole."""
    x, y = (np.asarray(a, float) for a in surface.axes)
    if not (x[0] <= point[0] <= x[-1] and y[0] <= point[1] <= y[-1]):
        return math.nan
    i = int(np.clip(np.searchsorted(x, point[0]) - 1, 0, len(x) - 2))
    j = int(np.clip(np.searchsorted(y, point[1]) - 1, 0, len(y) - 2))
    u, v = (point[0] - x[i]) / (x[i + 1] - x[i]), (point[1] - y[j]) / (y[j + 1] - y[j])
    cell = places[i : i + 2, j : j + 2]
    return float(np.array([1 - u, u]) @ cell @ np.array([1 - v, v]))
