"""The forward pass, layer by layer: how large the signal is and what it still tells apart.

Letters: C calls in the order they ran; the rest as in `blocks`.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from sounding.capture.node import Node
from sounding.capture.sample import gathered
from sounding.measure.blocks import Block, blocks, sizes
from sounding.measure.readings import Signal
from sounding.theory.activations import activation

Columns = dict[str, np.ndarray]

FLAT = 0.01  # |slope| below which a unit is saturated, as in theory's `saturated`

NAMES = [f.name for f in dataclasses.fields(Signal) if f.name != "nonfinite"]


def signal(nodes: Sequence[Node], gradient_finite: np.ndarray) -> Signal:
    """Statistics of every call's output; nothing is computed on the model any more.

    `gradient_finite` says of each call whether the gradient that arrived is finite.

    Standard errors are over the rows (samples of the batch, taken as independent), and where only
    some of the features were sampled, over those too. One row has none, and no spread.
    """
    outputs = [node.output for node in nodes]
    columns: Columns = {name: np.full(len(nodes), np.nan) for name in NAMES}
    samples = blocks(outputs)
    whole = sizes(outputs, samples)
    columns["rms"], columns["rms_error"] = whole.rms, whole.error
    for block in samples:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            _zeros(columns, block, nodes)
            _describe(columns, block)
    _dead(columns, nodes)
    _slopes(columns, nodes)
    return Signal(nonfinite=harmful(nodes, whole.finite, gradient_finite), **columns)


def harmful(
    nodes: Sequence[Node], finite: np.ndarray, gradient_finite: np.ndarray
) -> tuple[int, ...]:
    """The calls with NaN or infinity that spreads, in order.

    An infinity that every user turns into finite numbers, and whose inputs get a finite gradient,
    is meant: the mask of an attention, which a softmax makes zero.
    """
    absorbed = finite.copy()
    for node in reversed(nodes):
        if not absorbed[node.index] and node.consumers:
            users = absorbed[node.consumers].all()
            absorbed[node.index] = users and gradient_finite[node.inputs].all()
    return tuple(int(i) for i in np.flatnonzero(~absorbed))


def _zeros(columns: Columns, block: Block, nodes: Sequence[Node]) -> None:
    """The fraction of zeros that rectifiers put out, from the sample."""
    of = np.array([nodes[i].peaks is not None for i in block.indices])
    if of.any():
        fraction, error = _mean_and_error(block.values == 0, block.unseen)
        at = block.indices[of]
        columns["zeros"][at], columns["zeros_error"][at] = fraction[of], error[of]


def _describe(columns: Columns, block: Block) -> None:
    """Mean, deviation, spread and correlation of tensors with samples of one shape.

    `block.values` are overwritten: the mean over the rows is taken off before squares are taken, so
    that a spread far below the mean keeps its digits.
    """
    at, values, unseen = block.indices, block.values, block.unseen
    rows, features = values.shape[1:]
    by_row, by_unit = values.mean(2), values.mean(1)
    columns["mean"][at], columns["mean_error"][at] = _estimate(by_row, by_unit, unseen)
    squares = np.einsum("nrf,nrf->nr", values, values)
    if features > 1:
        variance = np.maximum(squares / features - by_row**2, 0.0)  # of the units of one sample
        columns["std"][at], columns["std_error"][at] = _root(*_estimate(variance, None, 0.0))
    if rows > 1:
        columns["correlation"][at], columns["correlation_error"][at] = _cosines(values, squares)
        values -= by_unit[:, None, :]
        unbiased = rows / (rows - 1)
        by_row = np.einsum("nrf,nrf->nr", values, values) * (unbiased / features)
        if unseen:
            by_unit = np.einsum("nrf,nrf->nf", values, values) * (unbiased / rows)
        spread = _root(*_estimate(by_row, by_unit, unseen))
        columns["spread"][at], columns["spread_error"][at] = spread


Estimate = tuple[np.ndarray, np.ndarray]  # (N,) values, (N,) their standard errors


def _mean_and_error(values: np.ndarray, unseen: float) -> Estimate:
    """The mean of (N, R, F)."""
    by_unit = values.mean(1, dtype=np.float64) if unseen else None
    return _estimate(values.mean(2, dtype=np.float64), by_unit, unseen)


def _estimate(by_row: np.ndarray, by_unit: np.ndarray | None, unseen: float) -> Estimate:
    """The mean over rows, with an error over the rows and over features that were not sampled.

    Args:
        by_row: (N, R) the mean over the features, of each row.
        by_unit: (N, F) the mean over the rows, of each feature.
        unseen: The fraction of features that is missing; `by_unit` is used only where it is not 0.
    """
    mean, rows = by_row.mean(1), by_row.shape[1]
    if rows < 2:
        return mean, np.full(len(mean), np.nan)
    square = by_row.var(1, ddof=1) / rows
    if unseen and by_unit is not None and by_unit.shape[1] > 1:
        square = square + by_unit.var(1, ddof=1) / by_unit.shape[1] * unseen
    return mean, np.sqrt(square)


def _root(mean: np.ndarray, error: np.ndarray) -> Estimate:
    root = np.sqrt(mean)
    return root, np.where(mean > 0, error / (2 * root), error)


def _cosines(values: np.ndarray, squares: np.ndarray) -> Estimate:
    """The cosine of two samples, averaged over all pairs of rows.

    With unit rows u_i and their sum s, row i's mean cosine with the others is
    (u_i.s - 1) / (R - 1). The mean over pairs is a U-statistic: its error is twice that of the mean
    of these.
    """
    rows, norms = values.shape[1], np.sqrt(squares)
    total = np.matmul((1 / norms)[:, None, :], values)[:, 0]  # (N, F)
    along = np.matmul(values, total[:, :, None])[:, :, 0] / norms  # (N, R) u_i.s
    mean, error = _estimate((along - 1) / (rows - 1), None, 0.0)
    return mean, 2 * error if rows > 2 else np.full(len(mean), np.nan)


def _dead(columns: Columns, nodes: Sequence[Node]) -> None:
    """Rectifiers' units that are zero on the whole batch, exactly."""
    found = [(node.index, node.peaks) for node in nodes if node.peaks is not None]
    for (index, _), peaks in zip(found, gathered([p for _, p in found]), strict=True):
        columns["dead"][index] = float(np.count_nonzero(peaks.float().numpy() == 0))


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
        samples = gathered([z for node in found if (z := node.preactivation) is not None])
        z = np.stack([sample.numpy() for sample in samples])  # (N, R, F)
        unseen = 1 - z.shape[2] / features if features else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            slope = phi.derivative(z)
            columns["slope"][at], columns["slope_error"][at] = _mean_and_error(slope**2, unseen)
            if phi.saturates:
                fraction, error = _mean_and_error(np.abs(slope) < FLAT, unseen)
                columns["saturated"][at], columns["saturated_error"][at] = fraction, error
