"""The forward pass, layer by layer: how large the signal is and what it still tells apart.

Letters: C calls in the order they ran; the rest as in `blocks`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from sounding.capture.node import Node
from sounding.capture.sample import Reduced, gathered
from sounding.measure.blocks import Block, blocks, squares, stacked
from sounding.measure.readings import Signal
from sounding.theory.activations import activation, saturated

Columns = dict[str, np.ndarray]

NAMES = (
    "rms rms_error mean mean_error std std_error spread spread_error correlation correlation_error "
    "zeros zeros_error dead saturated saturated_error slope slope_error"
).split()


def signal(nodes: Sequence[Node]) -> Signal:
    """Statistics of every call's output; nothing is computed on the model any more.

    Standard errors are over the rows (samples of the batch, taken as independent), and where only
    some of the features were sampled, over those too. One row has none, and no spread.
    """
    outputs = [node.output for node in nodes]
    columns: Columns = {name: np.full(len(nodes), np.nan) for name in NAMES}
    sizes = squares(outputs)
    columns["rms"], columns["rms_error"] = sizes.rms, sizes.error
    for block in blocks(outputs):
        _describe(columns, block)
    _rectifiers(columns, nodes)
    _slopes(columns, nodes)
    arriving = squares([node.gradient for node in nodes]).finite
    broken = harmful(nodes, sizes.finite, arriving)
    return Signal(nonfinite=broken, **columns)


def harmful(
    nodes: Sequence[Node], finite: np.ndarray, gradient_finite: np.ndarray
) -> tuple[int, ...]:
    """The calls with NaN or infinity that spreads, in order.

    An infinity that every user turns into finite numbers, and whose inputs get a finite gradient, is
    meant: the mask of an attention, which a softmax makes zero.
    """
    absorbed = finite.copy()
    for node in reversed(nodes):
        if not absorbed[node.index] and node.consumers:
            users = absorbed[node.consumers].all()
            absorbed[node.index] = users and gradient_finite[node.inputs].all()
    return tuple(int(i) for i in np.flatnonzero(~absorbed))


def _describe(columns: Columns, block: Block) -> None:
    """Mean, deviation, spread and correlation of tensors with samples of one shape."""
    at, values, scale = block.indices, block.values, block.scale
    rows, features = values.shape[1:]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean, error = _mean_and_error(values, block.unseen)
        columns["mean"][at], columns["mean_error"][at] = mean * scale, error * scale
        if features > 1:
            variance = values.var(2)  # (N, R) over the units of one sample
            columns["std"][at], columns["std_error"][at] = _root(variance, scale)
        if rows > 1:
            deviations = (values - values.mean(1, keepdims=True)) ** 2 * (rows / (rows - 1))
            mean, error = _mean_and_error(deviations, block.unseen)
            columns["spread"][at] = np.sqrt(mean) * scale
            halved = np.where(mean > 0, error / (2 * np.sqrt(mean)), 0.0)
            columns["spread_error"][at] = halved * scale
            _correlate(columns, block)


def _mean_and_error(values: np.ndarray, unseen: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) mean of (N, R, F), and its standard error over rows and over features not sampled."""
    rows, features = values.shape[1:]
    if rows < 2:
        return values.mean((1, 2)), np.full(len(values), np.nan)
    square = values.mean(2).var(1, ddof=1) / rows
    if unseen and features > 1:
        square = square + values.mean(1).var(1, ddof=1) / features * unseen
    return values.mean((1, 2)), np.sqrt(square)


def _root(squares_by_row: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) root of the mean over rows of (N, R), and its standard error."""
    mean, rows = squares_by_row.mean(1), squares_by_row.shape[1]
    root = np.sqrt(mean)
    if rows < 2:
        return root * scale, np.full(len(root), np.nan)
    error = squares_by_row.std(1, ddof=1) / np.sqrt(rows)
    return root * scale, np.where(mean > 0, error / (2 * root), 0.0) * scale


def _correlate(columns: Columns, block: Block) -> None:
    """The cosine of two samples, averaged over all pairs of sampled rows.

    With unit rows u_i and their sum s, the mean over pairs is (s.s - R) / (R (R - 1)). It is a
    U-statistic: its standard error is twice that of the mean over rows of (u_i.s - 1) / (R - 1).
    """
    values, rows = block.values, block.values.shape[1]
    norms = np.sqrt(np.einsum("nrf,nrf->nr", values, values))
    units = values / norms[:, :, None]
    with_others = (np.einsum("nrf,nf->nr", units, units.sum(1)) - 1) / (rows - 1)  # (N, R)
    columns["correlation"][block.indices] = with_others.mean(1)
    if rows > 2:
        error = 2 * with_others.std(1, ddof=1) / np.sqrt(rows)
        columns["correlation_error"][block.indices] = error


def _rectifiers(columns: Columns, nodes: Sequence[Node]) -> None:
    """Units that are zero on the whole batch, exactly; the fraction of zeros, from the sample."""
    found = [node for node in nodes if node.peaks is not None]
    for node, peaks in zip(found, gathered([n.peaks for n in found]), strict=True):  # type: ignore[misc]
        columns["dead"][node.index] = float((peaks.numpy() == 0).sum())
    outputs: list[Reduced | None] = [n.output if n.peaks is not None else None for n in nodes]
    for block in blocks(outputs):
        zero = (block.values == 0).astype(np.float64)
        mean, error = _mean_and_error(zero, block.unseen)
        columns["zeros"][block.indices], columns["zeros_error"][block.indices] = mean, error


def _slopes(columns: Columns, nodes: Sequence[Node]) -> None:
    """Slope and saturation of every activation, at the inputs that it had."""
    groups: dict[tuple, list[Node]] = defaultdict(list)
    for node in nodes:
        if node.preactivation is not None and node.preactivation.numel():
            features = node.output.features if node.output is not None else 0
            kind = (node.operation, tuple(sorted(node.arguments.items())))
            groups[*kind, node.preactivation.shape, features].append(node)
    for (*_, features), found in groups.items():
        at = [node.index for node in found]
        phi = activation(found[0].operation, **found[0].arguments)
        z = stacked([n.preactivation for n in found])  # type: ignore[misc]
        z = z.reshape(*z.shape[:2], -1)
        unseen = 1 - z.shape[2] / features if features else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            squared = phi.derivative(z) ** 2
            columns["slope"][at], columns["slope_error"][at] = _mean_and_error(squared, unseen)
            if phi.saturates:
                flat = saturated(phi, z).astype(np.float64)
                mean, error = _mean_and_error(flat, unseen)
                columns["saturated"][at], columns["saturated_error"][at] = mean, error
