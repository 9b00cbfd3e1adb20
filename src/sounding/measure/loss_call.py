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
MANY, FEATURES = 4096, 64  # rows, and entries of each, that are looked at for copies


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
    # largest |sum over the classes - 1|, of exp(output) where none is positive; nan: both signs
    row_sums: float
    column_sums: float  # the same over the samples
    one_hot: bool  # each row of the target is zeros and a single 1
    counts: np.ndarray | None  # (K,) labels in the batch, for labels of classes
    weighted: bool  # class or sample weights are passed
    elements: int  # entries of the loss before it is reduced; 0 where that was not seen
    factor: float  # d(what backward starts from) / d(value of the loss function); nan: not known
    unreachable: float  # share of the targets outside of what `operation` can put out
    silent: np.ndarray | None = None  # (K,) outputs that are the same for every sample
    source: str = ""  # 'train.py:18': the line that calls it
    beyond: float = np.nan  # mean square of how far targets lie outside of it, over their variance
    reduced: bool = True  # torch itself makes one number of it; False: the user's code does
    copies: int = 1  # times that each sample occurs, where all occur equally often


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
        beyond=np.nan if labels else _beyond(maker.operation, target),
        reduced=bool(compared.function) and compared.reduction != "none",
        copies=_copies(output, target),
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
    if float(output.max()) <= 0:
        output = output.exp()
    elif float(output.min()) < 0:
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


def _outside(operation: str, target: torch.Tensor) -> torch.Tensor:
    """How far each target lies outside of what the operation can put out."""
    low, high = BETWEEN.get(operation, (0 if operation in ABOVE_ZERO else -np.inf, np.inf))
    target = target.double()
    return (low - target).clamp_min(0) + (target - high).clamp_min(0)


def _unreachable(operation: str, target: torch.Tensor | None) -> float:
    return np.nan if target is None else float((_outside(operation, target) > 0).double().mean())


def _beyond(operation: str, target: torch.Tensor | None) -> float:
    if target is None:
        return np.nan
    square = float(_outside(operation, target).square().mean())
    variance = float(target.double().var(correction=0))
    return square / variance if variance > 0 else np.inf if square > 0 else 0.0


def _copies(output: torch.Tensor, target: torch.Tensor | None) -> int:
    """How often each pair of output and target occurs; 1 where outputs are too alike to tell."""
    if target is None or output.dim() < 2 or target.shape[:1] != output.shape[:1]:
        return 1
    rows = output.detach().flatten(1)[:MANY]
    rows = rows[:, :: max(1, rows.shape[1] // FEATURES)]
    if int((rows == rows[0]).all(1).sum()) < 2:
        return 1  # the first one occurs once, so that nothing more need be counted
    labels = target[:MANY].flatten(1) if target.dim() > 1 else target[:MANY, None]
    labels = labels[:, :: max(1, labels.shape[1] // FEATURES)].to(rows)
    if len(rows.unique(dim=0)) <= len(labels.unique(dim=0)):
        return 1
    times = torch.cat([rows, labels], 1).unique(dim=0, return_counts=True)[1]
    return int(times[0]) if bool((times == times[0]).all()) else 1


def _silent(output: torch.Tensor, along: int) -> np.ndarray | None:
    if output.dim() < 2 or output.shape[0] < 2:
        return None
    flat = output.movedim(along, -1).reshape(-1, output.shape[along])
    return (flat == flat[0]).all(0).cpu().numpy()
