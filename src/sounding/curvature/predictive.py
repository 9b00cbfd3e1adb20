"""The distribution that a model predicts, where its loss is the negative logarithm of one.

Targets drawn from it give the Fisher matrix. A *prediction* is one draw: a class of a sample, of a
token, of a pixel, or one real number. With c the weight of a prediction in the loss and S draws,
A is the sum over predictions of c/S times the sum over draws of r r', with r the derivative of the
prediction's loss by its outputs.

Letters: N samples, C classes, S draws, k vectors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.curvature.products import Product

KNOWN = {
    functional.cross_entropy: "cross_entropy",
    nn.CrossEntropyLoss: "cross_entropy",
    functional.nll_loss: "nll_loss",
    nn.NLLLoss: "nll_loss",
    functional.mse_loss: "mse_loss",
    nn.MSELoss: "mse_loss",
    functional.binary_cross_entropy_with_logits: "binary_cross_entropy_with_logits",
    nn.BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
}
PLAIN = {"weight": None, "pos_weight": None, "label_smoothing": 0.0}  # else it is no likelihood
IGNORED = -100  # torch's default ignore_index


class Predictive:
    """The distribution behind a known loss, and how that loss is averaged."""

    def __init__(self, loss: Any) -> None:
        """Raises a ValueError for a loss that is not known to be a negative log-likelihood."""
        self.name, options = _known(loss)
        self.reduction = options.get("reduction", "mean")
        self._ignored = options.get("ignore_index", IGNORED)
        for option, plain in PLAIN.items():
            value = options.get(option, plain)
            if value is not plain and value != plain:
                raise ValueError(
                    f"{self.name} with {option} is not the negative logarithm of a distribution, "
                    f"so there are no targets to draw; leave {option} out for the Fisher matrix"
                )

    def middle(
        self, output: torch.Tensor, target: torch.Tensor, draw: Callable[[int], torch.Tensor]
    ) -> Product:
        """A at `output`; `draw(each)` gives (N, each) uniform numbers, the S draws side by side.

        Raises:
            ValueError: If output and target do not fit one another.
        """
        if self.name in ("cross_entropy", "nll_loss"):
            return self._classes(output, target, draw)
        return self._numbers(output, target, draw)
