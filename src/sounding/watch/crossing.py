"""Numbers that cross from a device to the CPU while the training goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

PLAIN = {int, float}  # types of a column that numpy takes as it is


class _Moved(NamedTuple):
    """A column of which the values at `places` came, or come, from a GPU in one transfer."""

    values: Sequence[Any]
    places: list[int]
    arriving: torch.Tensor


class Crossing:
    """Columns of numbers and of tensors with one number each, on their way."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._event: Any = None
        self._columns: dict[str, Any] = dict(columns)
        for name, values in columns.items():
            if set(map(type, values)) <= PLAIN:  # nearly always, and soon seen
                self._columns[name] = np.array(values, dtype=np.float64)
                continue
            places = [i for i, v in enumerate(values) if isinstance(v, torch.Tensor) and v.is_cuda]
            if places:
                device = values[places[0]].device
                flat = [values[i].detach().reshape(()).double().to(device) for i in places]
                arriving = torch.stack(flat).to("cpu", non_blocking=True)
                self._columns[name] = _Moved(values, places, arriving)
                self._event = torch.cuda.Event()
                self._event.record(torch.cuda.current_stream(device))

    @property
    def there(self) -> bool:
        """Whether nothing must be waited for."""
        return self._event is None or self._event.query()

    def numbers(self) -> dict[str, np.ndarray]:
        """The columns; waits for what is still on a device."""
        if self._event is not None:
            self._event.synchronize()
        return {name: _numbers(values) for name, values in self._columns.items()}


def _numbers(values: Sequence[Any] | np.ndarray | _Moved) -> np.ndarray:
    if isinstance(values, _Moved):
        numbers = list(values.values)
        for i, number in zip(values.places, values.arriving.tolist(), strict=True):
            numbers[i] = number
        values = numbers
    if isinstance(values, np.ndarray):
        return values
    return np.array([float(v) for v in values])
