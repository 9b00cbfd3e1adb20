"""Numbers, distributions over the layers, findings and the depth chart in TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from sounding.exam import Checkup
from sounding.integrations.words import listed
from sounding.view import plot

PREFIX = "sounding"


class TensorBoard:
    """Writes through `writer`, or into a folder of its own that is closed at the end.

    Scalars are `sounding/loss`, `sounding/signal/<layer>` and so on; `sounding/signal` without a
    layer is the distribution of the layers' log10, one histogram a step that was examined.

    Example: ``sounding.watch(model, optimizer, to=TensorBoard("runs/one"))``
    """

    def __init__(self, writer: SummaryWriter | str | os.PathLike[str]) -> None:
        self._own = not hasattr(writer, "add_scalar")
        self._writer: Any = SummaryWriter(str(writer)) if self._own else writer
        self._last = 0

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Scalars."""
        self._last = max(step, self._last)
        for name, value in values.items():
            self._writer.add_scalar(f"{PREFIX}/{name}", value, step)

    def layers(self, step: int, quantity: str, values: Mapping[str, float]) -> None:
        """Scalars, and the histogram of all."""
        self.numbers(step, {f"{quantity}/{name}": value for name, value in values.items()})
        sizes = np.array([v for v in values.values() if 0 < v < np.inf])
        if sizes.size:
            self._writer.add_histogram(f"{PREFIX}/{quantity} (log10)", np.log10(sizes), step)

    def findings(self, step: int, found: Sequence[Mapping[str, Any]]) -> None:
        """Text."""
        self._writer.add_text(f"{PREFIX}/findings", listed(found), step)

    def end(self, checkup: Checkup | None) -> None:
        """The findings after all tests, and the depth chart."""
        if checkup is not None:
            self.findings(self._last, [f.to_dict() for f in checkup.findings])
            figure = plot(checkup).figure
            self._writer.add_figure(f"{PREFIX}/depth", figure, self._last)
        self._writer.flush()
        if self._own:
            self._writer.close()
