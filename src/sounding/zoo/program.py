"""An ordinary training loop whose diagnosis is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Program:
    """A training as a user writes it, so that faults of the loop itself can be expressed.

    Attributes:
        name: What reports call it.
        run: Trains from the global seeds that the caller has set, with the fault or without, and
            returns a score, higher is better. Healthy ones ignore the flag.
        expected: Codes of which the first finding must have one; empty: a healthy training.
        note: What is wrong with it; of a healthy one, what a naive rule would find.
        source: Where the fault was met: 'StackOverflow 39217567', 'pytorch/pytorch#16045'.
        code_only: Whether only the user's code can cure it.
    """

    name: str
    run: Callable[[bool], float]
    expected: tuple[str, ...]
    note: str
    source: str = ""
    code_only: bool = False
