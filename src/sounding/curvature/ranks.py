"""The processes that measure one matrix together, and how they agree."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist


class Ranks:
    """The processes of a job that work together; this one alone where there is no group.

    Alone, nothing here communicates. Together, every rank has to make the same calls in the same
    order.
    """

    def __init__(self, *groups: dist.ProcessGroup) -> None:
        """`groups` are the dimensions of a mesh, one for a plain group of processes."""
        self._groups = tuple(g for g in groups if g.size() > 1)

    @property
    def count(self) -> int:
        """How many they are."""
        return math.prod(g.size() for g in self._groups)

    @property
    def place(self) -> int:
        """Which this one is among them, as :meth:`gathered` puts them in order."""
        found, below = 0, 1
        for group in self._groups:
            found, below = found + group.rank() * below, below * group.size()
        return found

    def ahead(self, count: int) -> int:
        """The sum of the counts of all ranks before this one."""
        return sum(self.gathered(count)[: self.place])

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of every rank's tensor, in place."""
        for group in self._groups:
            dist.all_reduce(tensor, group=group)
        return tensor

    def largest(self, value: float, device: torch.device) -> float:
        """The largest of every rank's number."""
        if not self._groups:
            return value
        found = torch.tensor([value], dtype=torch.float32, device=device)
        for group in self._groups:
            dist.all_reduce(found, op=dist.ReduceOp.MAX, group=group)
        return float(found)

    def gathered(self, value: Any) -> list[Any]:
        """Every rank's value, in the same order on all; small ones, as they are pickled."""
        found = [value]
        for group in self._groups:
            everyone: list[Any] = [None] * group.size()
            dist.all_gather_object(everyone, found, group=group)
            found = [each for part in everyone for each in part]
        return found

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What one rank raises inside, all of them raise, so that none waits for another in vain.

        Inside, ranks must not wait for one another.

        Raises:
            ValueError: On the ranks where all went well, if it did not elsewhere.
        """
        if not self._groups:
            yield
            return
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        words = "" if error is None else str(error) or type(error).__name__
        failed = [(rank, said) for rank, said in enumerate(self.gathered(words)) if said]
        if error is not None:
            raise error
        if failed:
            rank, said = failed[0]
            raise ValueError(f"on rank {rank} of {self.count}: {said}")
