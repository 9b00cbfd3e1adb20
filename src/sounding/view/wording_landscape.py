"""What surfaces and paths say: one sentence with the numbers in it, and how they are to be read."""

from __future__ import annotations

import math

import numpy as np

from sounding.landscape.paths import KINDS, Path
from sounding.landscape.surface import Surface
from sounding.view.numbers import count, number, percent
from sounding.view.relief import relief

SHORT = {
    "filter": "random directions, filter-normalised",
    "layer": "random directions, layer-normalised",
    "random": "random directions",
    "eigen": "eigenvectors of the Hessian",
    "gradient": "the gradient's direction",
    "points": "given points",
    "trajectory": "the trajectory's principal directions",
}


def surface_headline(result: Surface) -> str:
    """Where the loss goes around the centre."""
    rise = f"{number(result.lowest)} to {number(result.highest)}"
    where = "line" if result.dims == 1 else "plane"
    return f"Loss {number(result.loss)} at {centre(result)}, {rise} on this {where}"


def centre(result: Surface) -> str:
    """What stands at (0, 0)."""
    words = {"trajectory": "the last point", "points": "the first point"}
    return words.get(result.along, "the centre")


def surface_looked_at(result: Surface) -> str:
    """What was evaluated, in one line."""
    grid = " × ".join(str(len(axis)) for axis in result.axes)
    parts = [
        result.model,
        count(result.parameters, "parameter"),
        SHORT.get(result.along, result.along),
        f"{grid} points",
        f"mean over {count(result.samples, 'sample')}",
        f"{number(result.seconds)} s",
    ]
    return ", ".join(part for part in parts if part)


def surface_trouble(result: Surface) -> list[str]:
    """What a reader must know before looking: gaps, holes, noise, other notes."""
    said = []
    if not result.complete:
        missing = int((~result.measured).sum())
        said.append(f"{missing} of {result.measured.size} points were not measured")
    if result.holes:
        one = "point has" if result.holes == 1 else "points have"
        said.append(f"{result.holes} {one} no finite loss (NaN or overflow): hatched holes")
    return [*said, *result.notes]


def surface_facts(result: Surface) -> list[tuple[str, str]]:
    """Rows (what, said) below the picture."""
    facts = [("directions", result.said), ("neighbourhood", _neighbourhood(result))]
    drawn = relief(result)
    if drawn is not None:
        facts.append(("scale", f"{drawn.said()} of the loss, from {number(drawn.low)} to "
                               f"{number(drawn.high)}"))  # fmt: skip
    if len(result.explained):
        facts.append(("variance shown", _explained(result)))
    elif len(result.distances) and float(np.max(result.distances)) > 0:
        facts.append(("given points", f"up to {number(np.max(result.distances))} off the plane"))
    if result.batch_norm:
        facts.append(("batch norm", result.batch_norm))
    facts.append(("how computed", _computed(result)))
    facts.append(("what it cannot say", _limits(result)))
    return facts


def _neighbourhood(result: Surface) -> str:
    rows = []
    for axis, size in zip(result.axes, result.norms, strict=True):
        reach = max(abs(float(axis[0])), abs(float(axis[-1]))) * float(size)
        said = f"{number(axis[0])} to {number(axis[-1])}"
        if result.norm > 0:
            part = number(100 * reach / result.norm)
            said += f" (a move by {part} % of the norm of the parameters)"
        rows.append(said)
    return "; ".join(rows).replace("-", "−")


def _explained(result: Surface) -> str:
    parts = " + ".join(percent(round(float(e), 3)) for e in result.explained)
    total = percent(round(float(np.sum(result.explained)), 3))
    whole = total if len(result.explained) == 1 else f"{total} ({parts})"
    return (
        f"{whole} of the variance of {len(result.trajectory)} points lies on it; they are up "
        f"to {number(np.max(result.distances))} off it, where the loss is another one. A random "
        "walk in many dimensions would show 61 % and 15 % on its first two"
    )


def _computed(result: Surface) -> str:
    said = result.way
    if result.deviation > 0:
        said += f"; differs from one call a point by at most {number(result.deviation)}, relative"
    if result.noise > 0:
        said += f"; two calls at the centre differ by {number(result.noise)}, relative"
    return said


def _limits(result: Surface) -> str:
    return (
        f"it shows {result.dims} of {result.parameters} directions: a bowl here is no proof of a "
        "minimum, and a saddle elsewhere is not seen"
    )


def path_headline(result: Path) -> str:
    """The barrier with its interval."""
    low, high = result.interval
    how = {"line": "a straight line", "bezier": "a trained curve", "chain": "a trained chain"}
    where = f"on {how.get(result.curve, result.curve)} between two solutions"
    if not math.isfinite(result.barrier):
        return f"The loss is not finite {where}"
    if not math.isfinite(low):
        return f"Barrier {number(result.barrier)} {where}, its error unknown"
    if low <= 0:
        return (
            f"No barrier beyond the noise {where}: {number(result.barrier)}, at most {number(high)}"
        )
    return f"Barrier {number(result.barrier)} [{number(low)}, {number(high)}] {where}"


def path_looked_at(result: Path) -> str:
    """What was evaluated, in one line."""
    parts = [
        result.model,
        count(result.parameters, "parameter"),
        f"{len(result.at)} points",
        f"mean over {count(result.samples, 'sample')}",
        f"{number(result.seconds)} s",
    ]
    return ", ".join(part for part in parts if part)


def path_facts(result: Path) -> list[tuple[str, str]]:
    """Rows (what, said) below the picture."""
    facts = [("curve", KINDS.get(result.curve, result.curve)), ("barrier", _barrier(result))]
    if result.moved >= 0:
        facts.append((
            "matched units",
            f"{result.moved} were permuted: distance {number(result.unmatched)} before, "
            f"{number(result.distance)} after",
        ))  # fmt: skip
    facts.append((
        "length",
        f"{number(result.length)} in parameter space; the ends are {number(result.distance)} apart",
    ))  # fmt: skip
    if len(result.training):
        first, last = (number(float(np.mean(part))) for part in _ends(result.training))
        facts.append(("training", f"{len(result.training)} steps; loss {first} at first, {last} at "
                                  "last, at random places"))  # fmt: skip
    if result.batch_norm:
        facts.append(("batch norm", result.batch_norm))
    return facts


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    tenth = max(1, len(values) // 10)
    return values[:tenth], values[-tenth:]


def _barrier(result: Path) -> str:
    said = "largest excess over the straight line between the losses at the ends"
    if math.isfinite(result.interval[0]):
        said += (
            f"; {percent(result.level)} interval over {result.groups} groups of samples, its place "
            "chosen on one half of them and measured on the other"
        )
    return said
