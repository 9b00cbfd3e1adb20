"""How the loss is called: what it is given, what it makes of it, and what backward starts from."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from sounding.capture.losses import LABELLED, Comparison
from sounding.capture.node import Node
from sounding.result import Result

BETWEEN = {"sigmoid": (0, 1), "softmax": (0, 1), "hardsigmoid": (0, 1), "tanh": (-1, 1)}
ABOVE_ZERO = {"relu", "relu6", "softplus", "exp", "square", "abs"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Values(Result):
    """One tensor that the loss is given, as numbers."""

    shape: tuple[int, ...]
    dtype: str  # 'float32', 'int64', 'bool', ...
    low: float
    high: float
    mean: float
    std: float  # over all entries

    @property
    def kind(self) -> str:
        """'float', 'integer' or 'bool'."""
        whole = "bool" if self.dtype == "bool" else "integer"
        return "float" if "float" in self.dtype else whole


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LossCall(Result):
    """The call that turns the model's output and a target into the loss.

    Letters: N samples, K classes (entries of the output along its class dimension: 1 for outputs of
    shape (N, K, ...), the last one for a loss written by hand).
    """

    function: str  # 'cross_entropy', 'mse_loss', 'binary_cross_entropy_with_logits', '': by hand
    output: Values  # what the loss is given as prediction
    target: Values | None  # None: no tensor that does not come from the model is compared with it
    operation: str  # that made the output: 'softmax', 'sigmoid', 'relu', 'linear', ...
    dimension: int | None  # along which a softmax runs, counted from 0; None for the others
    classes: int  # K
    row_sums: float  # largest |sum over the classes - 1|; nan where an output is negative
    column_sums: float  # the same over the samples
    one_hot: bool  # each row of the target is zeros and a single 1
    counts: np.ndarray | None  # (K,) labels in the batch, for labels of classes
    weighted: bool  # class or sample weights are passed
    elements: int  # entries of the loss before it is reduced; 0 where that was not seen
    factor: float  # d(what backward starts from) / d(value of the loss function); nan: not known
    unreachable: float  # share of the targets outside of what `operation` can put out
    silent: np.ndarray | None = None  # (K,) outputs that are the same for every sample
    source: str = ""  # 'train.py:18': the line that calls it


def loss_call(compared: Comparison | None, nodes: list[Node]) -> LossCall | None:
    """The numbers of a comparison that was seen in a pass; None without one."""
    if compared is None:
        return None
    output, target = compared.output.float(), compared.target
    maker = nodes[compared.maker]
    labels = compared.function in LABELLED
    along = 1 if labels and output.dim() > 1 else output.dim() - 1
    dimension = maker.arguments.get("dimension")
    return LossCall(
        function=compared.function,
        output=values(compared.output),
        target=None if target is None else values(target),
        operation=maker.operation,
        dimension=None if dimension is None else int(dimension),
        classes=output.shape[along],
        row_sums=_sums(output, along),
        column_sums=_sums(output, 0) if output.dim() > 1 else np.nan,
        one_hot=_one_hot(output, target),
        counts=_counts(target, output.shape[along], labels=labels),
        weighted=compared.weighted,
        elements=compared.elements,
        factor=compared.factor,
        unreachable=np.nan if labels else _unreachable(maker.operation, target),
        silent=_silent(output, along),
        source=compared.source,
    )


def values(tensor: torch.Tensor) -> Values:
    """A tensor as numbers; all of its entries count."""
    numbers = tensor.detach().double()
    return Values(
        shape=tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        low=float(numbers.min()),
        high=float(numbers.max()),
        mean=float(numbers.mean()),
        std=float(numbers.std(correction=0)),
    )


def _sums(output: torch.Tensor, along: int) -> float:
    if float(output.min()) < 0:
        return float("nan")
    return float((output.sum(along) - 1).abs().max())


def _one_hot(output: torch.Tensor, target: torch.Tensor | None) -> bool:
    if target is None or target.shape != output.shape or target.dim() < 2 or target.shape[-1] < 2:
        return False
    binary = ((target == 0) | (target == 1)).all()
    return bool(binary and (target.sum(-1) == 1).all())


def _counts(target: torch.Tensor | None, classes: int, *, labels: bool) -> np.ndarray | None:
    """(K,) labels in the batch; of two classes where a single output is compared with 0 and 1."""
    if target is None:
        return None
    if labels and not target.is_floating_point():
        kept = target[(target >= 0) & (target < classes)]
        return torch.bincount(kept.flatten(), minlength=classes).cpu().numpy()
    if classes == 1 and bool(((target == 0) | (target == 1)).all()):
        ones = int(target.sum())
        return np.array([target.numel() - ones, ones])
    return None


def _unreachable(operation: str, target: torch.Tensor | None) -> float:
    if target is None:
        return float("nan")
    low, high = BETWEEN.get(operation, (0 if operation in ABOVE_ZERO else -np.inf, np.inf))
    return float(((target < low) | (target > high)).double().mean())


def _silent(output: torch.Tensor, along: int) -> np.ndarray | None:
    if output.dim() < 2 or output.shape[0] < 2:
        return None
    flat = output.movedim(along, -1).reshape(-1, output.shape[along])
    return (flat == flat[0]).all(0).cpu().numpy()
