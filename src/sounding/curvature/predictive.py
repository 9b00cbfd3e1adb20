"""The distribution that a model predicts, where its loss is the negative logarithm of one.

A *prediction* is one draw: the class of a sample, token or pixel, or one real number. With c the
weight of a prediction's loss in the whole, r(y) the derivative of that loss by its outputs for a
target y, and S draws of y, the matrix here is the sum over predictions of c/S sum r(y) r(y)'. Its
mean over the draws is the Hessian of the loss by the outputs that the distribution is a natural
function of: the logits, or the mean of a normal one (Martens 2020, section 9.2).

Letters: N samples, C classes, S draws, k vectors, m numbers of output.
"""

from __future__ import annotations

import dataclasses
import functools
import math
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
CHANGES = {"weight": None, "pos_weight": None, "label_smoothing": 0.0}  # then it is no likelihood
IGNORED = -100  # torch's default for ignore_index
NOT_ONE = 1e-2  # by which probabilities may miss the sum of one: rounding in bfloat16


@dataclasses.dataclass(frozen=True)
class Predictive:
    """The distribution behind a known loss, and how the loss is averaged."""

    loss: str  # a value of KNOWN
    reduction: str  # 'mean' over the predictions, or 'sum'
    ignored: int  # class of the predictions that do not count


def predictive(loss: Any) -> Predictive:
    """What is known of `loss`: one of torch's functions or modules, or a partial of a function.

    Raises:
        ValueError: If it is not known to be a negative log-likelihood.
    """
    function: Any = loss
    options: dict[str, Any] = {}
    if isinstance(loss, functools.partial) and not loss.args:
        function, options = loss.func, loss.keywords
    elif isinstance(loss, nn.Module):
        function, options = type(loss), vars(loss) | loss._buffers
    name = KNOWN.get(function) if callable(function) else None
    if name is None:
        raise ValueError(
            f"no distribution is known for the loss {getattr(loss, '__name__', loss)!r}; targets "
            f"can be drawn for {', '.join(sorted(set(KNOWN.values())))} and their modules "
            "(functools.partial sets options); else use gauss_newton or empirical_fisher"
        )
    for option, plain in CHANGES.items():
        if options.get(option, plain) is not plain and options[option] != plain:
            raise ValueError(
                f"{name} with {option} is not the negative logarithm of a distribution, so no "
                f"targets can be drawn; leave {option} out, or use gauss_newton"
            )
    return Predictive(name, options.get("reduction", "mean"), options.get("ignore_index", IGNORED))


def uniform(rows: slice, each: int, *, seed: int) -> torch.Tensor:
    """(rows, each) numbers in [0, 1), float64; each row's depend on its place, not on the others.

    A counter-based generator jumps to the first row (Salmon et al. 2011).
    """
    blocks = -(-each // 4)  # a step of the counter makes four numbers
    stream = np.random.Philox(key=(seed % 2**64 << 64) + each, counter=rows.start * blocks)
    drawn = np.random.Generator(stream).random((rows.stop - rows.start, 4 * blocks))
    return torch.from_numpy(drawn[:, :each])


def outer_products(
    kind: Predictive,
    output: torch.Tensor,
    target: torch.Tensor,
    *,
    draws: int,
    first: int,
    seed: int,
) -> tuple[Product, float]:
    """(k, m) -> (k, m): A at `output`, and the bytes that it holds; `first` is the first's number.

    Raises:
        ValueError: If the output does not fit the target, or is no distribution.
    """
    if kind.loss in ("cross_entropy", "nll_loss"):
        return _of_classes(kind, output, target, draws, first, seed)
    if target.shape != output.shape:
        raise ValueError(
            f"the output has shape {tuple(output.shape)}, the target {tuple(target.shape)}; give "
            "them the same shape, so that each number has its own distribution"
        )
    return _of_numbers(kind, output, draws, first, seed)


# -- one real number or bit -----------------------------------------------------------------


def _of_numbers(
    kind: Predictive, output: torch.Tensor, draws: int, first: int, seed: int
) -> tuple[Product, float]:
    """Diagonal: the mean of r^2 over the draws."""
    rows, inner = (len(output), output.shape[1:]) if output.ndim else (1, output.shape)
    drawn = uniform(slice(first, first + rows), draws * inner.numel(), seed=seed)
    drawn = drawn.view(rows, draws, *inner)
    if kind.loss == "mse_loss":  # (output - y)^2: normal around the output, with variance 1/2
        noise = math.sqrt(2) * torch.erfinv((2 * drawn - 1).clamp(min=-1 + 2**-53))
        squares = 2 * noise.square().mean(1).to(output.device, output.dtype)
    else:
        chance = output.detach().double().sigmoid().view(rows, 1, *inner)
        ones = (drawn.to(output.device) < chance).double()
        squares = (chance - ones).square().mean(1).to(output.dtype)
    weight = 1 / output.numel() if kind.reduction == "mean" else 1.0
    diagonal = (weight * squares).reshape(-1)
    return lambda block: block * diagonal, float(diagonal.nbytes)


# -- one class of several -------------------------------------------------------------------


def _of_classes(
    kind: Predictive, output: torch.Tensor, target: torch.Tensor, draws: int, first: int, seed: int
) -> tuple[Product, float]:
    """Of rank S for each prediction: r is p - e_y by logits, -e_y by logarithms of p."""
    axis = 1 if output.ndim > 1 else 0
    weight = _weights(kind, output, target, axis)  # (N, 1, ...)
    chances = _chances(kind, output, axis)  # (N, C, ...)
    drawn = _drawn(chances, axis, draws, first, seed)  # (N, S, ...)

    def apply(block: torch.Tensor) -> torch.Tensor:
        u = block.view(len(block), *output.shape)
        index = drawn.expand(len(block), *drawn.shape)
        along = -u.gather(axis + 1, index)  # r'u for each draw
        if kind.loss == "cross_entropy":
            along = along + (chances * u).sum(axis + 1, keepdim=True)
        along = along * (weight / draws)
        found = torch.zeros_like(u).scatter_add(axis + 1, index, -along)
        if kind.loss == "cross_entropy":
            found = found + chances * along.sum(axis + 1, keepdim=True)
        return found.reshape(len(block), -1)

    return apply, float(chances.nbytes + drawn.nbytes + weight.nbytes)


def _weights(
    kind: Predictive, output: torch.Tensor, target: torch.Tensor, axis: int
) -> torch.Tensor:
    """(N, 1, ...) the weight of each prediction's loss."""
    if target.is_floating_point() and kind.loss == "cross_entropy":  # probabilities
        shape, counted = target.shape, torch.ones_like(target.narrow(axis, 0, 1))
    else:
        shape = (*target.shape[:axis], output.shape[axis], *target.shape[axis:])
        counted = (target != kind.ignored).unsqueeze(axis)
    if shape != output.shape:
        raise ValueError(
            f"the output has shape {tuple(output.shape)}, the target {tuple(target.shape)}; "
            "classes belong into the second dimension of the output, and are missing in the target"
        )
    counted = counted.to(output.dtype)
    return counted / counted.sum() if kind.reduction == "mean" else counted


def _chances(kind: Predictive, output: torch.Tensor, axis: int) -> torch.Tensor:
    """(N, C, ...) the probabilities of the classes."""
    if kind.loss == "cross_entropy":
        return output.detach().softmax(axis)
    chances = output.detach().exp()
    if ((chances.sum(axis) - 1).abs() > NOT_ONE).any():
        raise ValueError(
            "nll_loss wants logarithms of probabilities, but exp(output) does not add up to 1; end "
            "the model with log_softmax, or pass cross_entropy"
        )
    return chances


def _drawn(chances: torch.Tensor, axis: int, draws: int, first: int, seed: int) -> torch.Tensor:
    """(N, S, ...) classes, by inverting the cumulated probabilities."""
    rows, inner = (len(chances), chances.shape[2:]) if axis else (1, torch.Size())
    level = uniform(slice(first, first + rows), draws * inner.numel(), seed=seed)
    level = level.view(rows, draws, *inner) if axis else level.view(draws)
    upto = chances.double().movedim(axis, -1).cumsum(-1)  # (N, ..., C)
    upto = upto / upto[..., -1:]
    level = level.to(chances.device).movedim(axis, -1).contiguous()
    return torch.searchsorted(upto.contiguous(), level, right=True).movedim(-1, axis)
