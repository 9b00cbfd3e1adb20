"""Any logger that is a function of (values, step), as most are: trackio, a print, accelerate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sounding.exam import Checkup

PREFIX = "sounding"


class Anything:
    """Tells ``function({"sounding/loss": 0.31, ...}, step)`` of everything that is a number.

    Of findings it is told how many problems and cautions there are.

    Example:
        >>> told = []
        >>> logger = Anything(lambda values, step: told.append((step, values)))
        >>> logger.layers(3, "signal", {"0": 0.5})
        >>> told
        [(3, {'sounding/signal/0': 0.5})]
    """

    def __init__(self, function: Callable[[dict[str, float], int], Any]) -> None:
        self._function = function
        self._last = 0

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """One number a name."""
        self._last = max(step, self._last)
        self._function({f"{PREFIX}/{name}": value for name, value in values.items()}, step)

    def layers(self, step: int, quantity: str, values: Mapping[str, float]) -> None:
        """One number a layer."""
        self.numbers(step, {f"{quantity}/{name}": value for name, value in values.items()})

    def findings(self, step: int, found: Sequence[Mapping[str, Any]]) -> None:
        """How many there are."""
        severities = [one["severity"] for one in found]
        self.numbers(step, {f"{kind}s": severities.count(kind) for kind in ("problem", "caution")})

    def end(self, checkup: Checkup | None) -> None:
        """How many there are, after all tests."""
        if checkup is not None:
            self.findings(self._last, [{"severity": f.severity} for f in checkup.findings])
