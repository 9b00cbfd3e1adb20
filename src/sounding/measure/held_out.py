"""What the script itself measured on held-out samples. Letters: E evaluations, K copies."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut(Result):
    """The losses of one set of samples, evaluated again and again between the steps."""

    function: str  # 'cross_entropy', ...
    steps: np.ndarray  # (E,) steps made before each evaluation
    loss: np.ndarray  # (E,) a mean over the elements, and over the calls of one block
    copies: np.ndarray  # (K,) steps after which the script took a copy of a net's weights
    put_back: bool  # the weights were changed after the last step
