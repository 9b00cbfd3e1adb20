"""Seeds, and random state: set for one run, and given back afterwards."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from sounding.randomness import random_state_given_back


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, every global generator starts from `seed`; outside, nothing has happened.

    The generators are those of Python, numpy, and torch on the CPU and on every CUDA device. They
    are given back byte for byte, also after an exception or Ctrl-C.
    """
    with random_state_given_back():
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - numpy's global generator is what `build` may use
        torch.manual_seed(seed)
        yield


def chosen_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The seeds that are meant: how many, counted from 0, or which.

    Raises:
        ValueError: If there is none, or one twice.
    """
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"seeds is {seeds!r}; give a positive number, or seeds that differ")
    return chosen
