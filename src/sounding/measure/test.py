"""The result of an intervention: something was changed on purpose, and this is what it did."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import NotApplicable, Result


class Untested(NotApplicable):
    """A rule asks for an intervention that has not been made; its name is `test`."""

    def __init__(self, test: str, reason: str = "") -> None:
        super().__init__(reason or f"suspected, but the test '{test}' was not made")
        self.test = test


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Test(Result):
    """One intervention. Which values it has stands with the function that makes it."""

    __test__ = False  # for pytest, which collects what is called Test

    name: str
    values: dict[str, float]
    curves: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # losses, by arm
    seconds: float = 0.0
    failed: str = ""  # why it could not be made; there are no values then

    def __getitem__(self, key: str) -> float:
        return self.values[key]
