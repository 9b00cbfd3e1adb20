"""Which batch comes at which step: a function of the data and the seed alone.

Both arms of a comparison draw with the same seed, so they see the same batches in the same order,
whatever else they draw.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from sounding.objective import Batch


def is_data_set(batches: Any) -> bool:
    """Whether `batches` is a pair (x, y) of tensors: a whole data set instead of batches."""
    return (
        isinstance(batches, tuple | list)
        and len(batches) == 2
        and all(isinstance(part, torch.Tensor) for part in batches)
    )


def check_batches(batches: Any) -> None:
    """Say what is wrong with `batches`, as far as it can be told without reading them.

    Raises:
        TypeError: If they cannot be iterated over.
        ValueError: If they are empty, of unequal length, or can be read only once.
    """
    if is_data_set(batches):
        x, y = batches
        if not (x.ndim and y.ndim and len(x) == len(y)):
            raise ValueError(
                f"inputs of shape {tuple(x.shape)} do not go with targets of shape "
                f"{tuple(y.shape)}; both need the samples along their first dimension"
            )
        if len(x) == 0:
            raise ValueError("the data set is empty; pass tensors with at least one sample")
        return
    if not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
        raise TypeError(
            f"batches is a {type(batches).__name__}; pass a pair (x, y) of tensors, a list of "
            "batches, or a DataLoader"
        )
    if isinstance(batches, Iterator):
        raise ValueError(
            f"batches is a {type(batches).__name__}, which can be read only once, but every run "
            "needs them again; pass a pair (x, y) of tensors, a list of batches, or a DataLoader"
        )


def draw(batches: Any, batch_size: int | None, seed: int) -> Iterator[Batch]:
    """Batches without end, the same ones for the same seed.

    A pair of tensors is shuffled anew every epoch by a generator of its own; the samples that do
    not fill a last batch wait for the next epoch. Anything else is cycled through as it is; while
    it is read, torch's CPU generator is one that only reading advances, so that a shuffling
    DataLoader gives the same order whatever the network drew in between.
    """
    if is_data_set(batches):
        x, y = batches
        if batch_size is None or batch_size >= len(x):
            return itertools.repeat((x, y))
        return _shuffled(x, y, batch_size, seed)
    return _cycled(batches, seed)


def _shuffled(x: torch.Tensor, y: torch.Tensor, batch_size: int, seed: int) -> Iterator[Batch]:
    for epoch in epochs(len(x), batch_size, seed):
        for rows in epoch:
            yield x[rows.to(x.device)], y[rows.to(y.device)]


def epochs(samples: int, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
    """The rows of each epoch's batches, (batches, batch_size), without end."""
    generator = torch.Generator().manual_seed(seed)
    whole = samples // batch_size * batch_size
    while True:
        yield torch.randperm(samples, generator=generator)[:whole].view(-1, batch_size)


def _cycled(batches: Iterable[Batch], seed: int) -> Iterator[Batch]:
    state = torch.Generator().manual_seed(seed).get_state()
    end = object()
    while True:
        source, count = None, 0
        while True:
            outside = torch.get_rng_state()
            torch.set_rng_state(state)
            try:
                source = iter(batches) if source is None else source
                batch = next(source, end)
            finally:
                state = torch.get_rng_state()
                torch.set_rng_state(outside)
            if batch is end:
                break
            count += 1
            yield batch
        if not count:
            raise ValueError("batches is empty; a run needs at least one batch")
