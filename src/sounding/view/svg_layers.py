"""The axis of layers that the panels of a chart share, in a wide and a narrow variant."""

from __future__ import annotations

import dataclasses

from markupsafe import Markup

from sounding.view.svg import Axis, group, shortened, tag

Panel = tuple[Markup, float]  # what is drawn, and where it ends


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes in pixels of one variant."""

    name: str
    width: float
    left: float
    right: float
    direct: bool  # labels at the curves' ends, where there is room for them
    heights: tuple[float, float, float]  # signal, gradient, attribution
    legend: float  # room for one entry of the attribution's legend
    letters: int  # of a layer's name


WIDE = Layout("wide", 880, 52, 84, True, (210, 150, 104), 152, 34)
NARROW = Layout("narrow", 328, 40, 6, False, (170, 130, 92), 144, 20)


def layer_axis(layers: tuple[str, ...], layout: Layout, across: Axis, y: float) -> Markup:
    """Names below the panels where they fit, numbers and the two ends where they do not."""
    n, slot = len(layers), across(1) - across(0)
    if max(len(name) for name in layers) * 7 <= slot:
        return group(
            tag("text", name, x=across(k + 0.5), y=y, class_="tick middle")
            for k, name in enumerate(layers)
        )
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, n) if s * slot >= 22)
    shown = sorted({1, *range(step, n + 1, step)})
    numbers = [
        tag("text", str(k), x=across(k - 0.5), y=y, class_="tick middle")
        for k in shown
        if k == 1 or (k - 1) * slot >= 18
    ]
    first, last = (shortened(layers[i], layout.letters) for i in (0, -1))
    ends = [
        tag("text", f"1: {first}", x=across.start, y=y + 18, class_="tick"),
        tag("text", f"{n}: {last}", x=across.end, y=y + 18, class_="tick end"),
    ]
    return group(numbers + ends)
