"""The map: several results on the same point of the same loss, each as one number at the top."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.spectrum import Spectrum
from sounding.landscape.escape import Escape
from sounding.landscape.paths import Path
from sounding.landscape.stationary_point import StationaryPoint
from sounding.landscape.surface import Surface
from sounding.result import Result
from sounding.view.numbers import number, percent, uncertain


@dataclasses.dataclass(frozen=True)
class Tile:
    """One number with its name and how sure it is."""

    name: str
    value: str
    said: str


def title(results: Sequence[Result]) -> str | None:
    """'The landscape around Net' where there is a surface among other results; else None."""
    surfaces = [r for r in results if isinstance(r, Surface)]
    return f"The landscape around {surfaces[0].model}" if surfaces and len(results) > 1 else None


def tiles(results: Sequence[Result]) -> list[Tile]:
    """The numbers of a map, in the order of the results; none for a page that is no map."""
    if title(results) is None:
        return []
    return [tile for result in results for tile in _tiles(result)]


@functools.singledispatch
def _tiles(result: Result) -> list[Tile]:
    """What a result of another kind says in a word: its `kind`, as of a stationary point."""
    kind = getattr(result, "kind", None)
    if not isinstance(kind, str):
        return []
    return [Tile("This point", kind, _certificate(result))]


def _certificate(result: Result) -> str:
    """Gradient norm and smallest eigenvalue, where the result knows them."""
    said = []
    for name, words in (("gradient_norm", "gradient norm"), ("smallest", "smallest eigenvalue")):
        value = getattr(result, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool):
            said.append(f"{words} {number(value)}")
    return ", ".join(said)


@_tiles.register
def _(result: Surface) -> list[Tile]:
    where = "on the line" if result.dims == 1 else "on the plane"
    loss = "Loss" if result.along != "trajectory" else "Loss at the last point"
    return [
        Tile(loss, number(result.loss), f"mean over {result.samples} samples"),
        Tile(f"Lowest {where}", number(result.lowest), f"highest {number(result.highest)}"),
    ]


@_tiles.register
def _(result: StationaryPoint) -> list[Tile]:
    said = f"loss {number(result.loss)}, {_certificate(result)}"
    return [Tile("This point", result.kind, said.replace("-", "−"))]


@_tiles.register
def _(result: Escape) -> list[Tile]:
    name = "Escaped" if result.escaped else "Did not escape"
    ends = f"{number(result.start_loss)} → {number(result.loss)}"
    return [Tile(name, ends, f"loss; the end: {result.certificate.kind}")]


@_tiles.register
def _(result: Path) -> list[Tile]:
    low, high = result.interval
    sure = f"[{number(low)}, {number(high)}], {percent(result.level)}"
    return [
        Tile(f"Barrier, {result.curve}", number(result.barrier),
             sure if math.isfinite(low) else "its error is unknown")
    ]  # fmt: skip


@_tiles.register
def _(result: Spectrum) -> list[Tile]:
    return [*_tiles(result.largest), *_tiles(result.smallest)]


@_tiles.register
def _(result: Eigenpairs) -> list[Tile]:
    if not len(result.values):
        return []
    value, error = float(result.values[0]), float(result.errors[0])
    sure = f"± {error:.1g}" + ("" if result.converged else ", NOT CONVERGED")
    which = "Largest" if result.which == "largest" else "Smallest"
    return [Tile(f"{which} eigenvalue", uncertain(value, error), sure)]
