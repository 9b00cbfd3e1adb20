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
from sounding.measure.blocks import Block, blocks, sizes, stacked
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
        at, zero = block.indices[of], (block.values[of] == 0).astype(np.float64)
        columns["zeros"][at], columns["zeros_error"][at] = _mean_and_error(zero, block.unseen)


def _describe(columns: Columns, block: Block) -> None:
    """Mean, deviation, spread and correlation of tensors with samples of one shape.

    With x_i the rows, m their mean and G the inner products of the x_i - m, everything else
    follows: x_i.x_j = G_ij + m.(x_i - m) + m.(x_j - m) + m.m. The mean is taken off first, so that
    a spread far below the mean keeps its digits. `block.values` are overwritten.
    """
    at, values = block.indices, block.values
    rows, features = values.shape[1:]
    columns["mean"][at], columns["mean_error"][at] = _mean_and_error(values, block.unseen)
    row_means = values.mean(2)  # (N, R)
    centre = values.mean(1)  # (N, F)
    values -= centre[:, None, :]
    along = np.matmul(values, centre[:, :, None])[:, :, 0]  # (N, R)
    inner = np.matmul(values, values.transpose(0, 2, 1))  # (N, R, R)
    if rows > 1:
        by_unit = np.einsum("nrf,nrf->nf", values, values) if block.unseen else None
        own = np.einsum("nrr->nr", inner)
        columns["spread"][at], columns["spread_error"][at] = _spread(own / features, by_unit, block)
    inner += along[:, :, None] + along[:, None, :]
    inner += np.einsum("nf,nf->n", centre, centre)[:, None, None]
    squares = np.einsum("nrr->nr", inner).copy()
    if features > 1:
        variance = np.maximum(squares / features - row_means**2, 0.0)
        columns["std"][at], columns["std_error"][at] = _root(variance)
    if rows > 1:
        columns["correlation"][at], columns["correlation_error"][at] = _cosines(inner, squares)


def _mean_and_error(values: np.ndarray, unseen: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) mean of (N, R, F), and its standard error over rows and over features not sampled."""
    rows, features = values.shape[1:]
    by_row = values.mean(2)
    if rows < 2:
        return by_row.mean(1), np.full(len(values), np.nan)
    square = by_row.var(1, ddof=1) / rows
    if unseen and features > 1:
        square = square + values.mean(1).var(1, ddof=1) / features * unseen
    return by_row.mean(1), np.sqrt(square)


def _spread(
    by_row: np.ndarray, by_unit: np.ndarray | None, block: Block
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) rms deviation of a unit from its mean over the batch, and its standard error.

    Args:
        by_row: (N, R) mean squared deviation of each row.
        by_unit: (N, F) summed squared deviations of each unit, where not all units were sampled.
        block: Where they come from.
    """
    rows, features = block.values.shape[1:]
    unbiased = rows / (rows - 1)
    variance = by_row.mean(1) * unbiased
    square = by_row.var(1, ddof=1) / rows
    if by_unit is not None and features > 1:
        square = square + (by_unit / rows).var(1, ddof=1) / features * block.unseen
    spread = np.sqrt(variance)
    return spread, np.where(variance > 0, np.sqrt(square) * unbiased / (2 * spread), 0.0)


def _root(squares_by_row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) root of the mean over rows of (N, R), and its standard error."""
    mean, rows = squares_by_row.mean(1), squares_by_row.shape[1]
    root = np.sqrt(mean)
    if rows < 2:
        return root, np.full(len(root), np.nan)
    error = squares_by_row.std(1, ddof=1) / np.sqrt(rows)
    return root, np.where(mean > 0, error / (2 * root), 0.0)


def _cosines(inner: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the cosine of two samples, averaged over all pairs of rows, and its standard error.

    The mean over pairs is a U-statistic: its error is twice that of the mean over rows of a row's
    mean cosine with the others.
    """
    rows = inner.shape[1]
    norms = np.sqrt(squares)
    cosines = inner / norms[:, :, None] / norms[:, None, :]
    with_others = (cosines.sum(2) - 1) / (rows - 1)  # (N, R)
    if rows < 3:
        return with_others.mean(1), np.full(len(inner), np.nan)
    return with_others.mean(1), 2 * with_others.std(1, ddof=1) / np.sqrt(rows)


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
        z = stacked([z for node in found if (z := node.preactivation) is not None])  # (N, R, F)
        unseen = 1 - z.shape[2] / features if features else 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            slope = phi.derivative(z)
            columns["slope"][at], columns["slope_error"][at] = _mean_and_error(slope**2, unseen)
            if phi.saturates:
                flat = (np.abs(slope) < FLAT).astype(np.float64)
                fraction, error = _mean_and_error(flat, unseen)
                columns["saturated"][at], columns["saturated_error"][at] = fraction, error
