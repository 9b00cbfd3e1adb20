"""The global random generators, given back: of Python, numpy, and torch on every device."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def random_state_given_back() -> Iterator[None]:
    """Whatever is drawn or seeded inside, the global generators leave as they came.

    Those of Python, numpy, torch on the CPU and on every CUDA device, byte for byte, also after an
    exception or Ctrl-C. CUDA is not started for this: a generator that did not exist yet would have
    started from torch's last seed, and does so afterwards.
    """
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is meant
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002 - as above
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        elif torch.cuda.is_available():
            torch.cuda.manual_seed_all(torch.initial_seed())
