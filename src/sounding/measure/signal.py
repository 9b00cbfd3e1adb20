"""The forward pass, layer by layer: how large the signal is and what it still tells apart."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from sounding.capture.recorder import Node
from sounding.capture.sample import Reduced
from sounding.measure.readings import Signal
from sounding.theory.activations import activation, saturated

Columns = dict[str, np.ndarray]


def signal(nodes: list[Node]) -> Signal:
    """Statistics of every call's output; nothing is computed on the model any more.

    Standard errors are over the sampled rows (samples of the batch), and where features were
    sampled too, over those; a batch of one sample has none, and no spread.
    """
    outputs = [node.output for node in nodes]
    columns: Columns = {
        name: np.full(len(nodes), np.nan)
        for name in (
            "rms rms_error mean std spread spread_error correlation correlation_error "
            "zeros dead saturated saturated_error slope"
        ).split()
    }
    columns["rms"] = rms(outputs)
    for indices, block in blocks(outputs):
        _fill(columns, indices, block, np.array([outputs[i].rows for i in indices]))  # type: ignore[union-attr]
    for node in nodes:
        _activation(columns, node)
    nonfinite = tuple(i for i, value in enumerate(columns["rms"]) if _broken(outputs[i], value))
    return Signal(nonfinite=nonfinite, **columns)


def rms(reduced: list[Reduced | None]) -> np.ndarray:
    """(C,) norm / sqrt(numel) of each reduced tensor, nan where there is none."""
    return np.array(
        [float(r.norm) / max(r.numel, 1) ** 0.5 if r is not None else np.nan for r in reduced]
    )


def relative_error(block: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Relative standard error of the rms of each tensor, from its rows' mean squares.

    If m_i is the mean square of row i, rms^2 = mean(m) has the standard error sd(m)/sqrt(B), and
    the rms half of that, relatively.
    """
    squares = _scaled(block)[0] ** 2
    per_row = squares.mean(2)  # (N, R)
    if per_row.shape[1] < 2:
        return np.full(len(block), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return per_row.std(1, ddof=1) / per_row.mean(1) / np.sqrt(rows) / 2


def _fill(columns: Columns, indices: list[int], block: np.ndarray, rows: np.ndarray) -> None:
    """Everything that comes from the samples of equal shape: block is (N, R, F)."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        columns["rms_error"][indices] = columns["rms"][indices] * relative_error(block, rows)
        columns["mean"][indices] = block.mean((1, 2))
        columns["std"][indices] = np.sqrt(block.var(2).mean(1)) if block.shape[2] > 1 else np.nan
        if block.shape[1] > 1:
            _between_samples(columns, indices, block)


def _between_samples(columns: Columns, indices: list[int], block: np.ndarray) -> None:
    """What tells samples apart: the spread about the batch's mean, the cosine of pairs."""
    block, scale = _scaled(block)
    count = block.shape[1]
    deviations = (block - block.mean(1, keepdims=True)) ** 2 * (count / (count - 1))
    variance = deviations.mean((1, 2))
    by_row = deviations.mean(2).var(1, ddof=1) / count
    by_feature = deviations.mean(1).var(1) / block.shape[2]
    columns["spread"][indices] = np.sqrt(variance) * scale
    errors = np.sqrt(by_row + by_feature) / (2 * np.sqrt(variance))
    columns["spread_error"][indices] = np.where(variance > 0, errors * scale, 0.0)
    first, second = block[:, 0 : count // 2 * 2 : 2], block[:, 1::2]
    norms = np.linalg.norm(first, axis=2) * np.linalg.norm(second, axis=2)
    cosines = (first * second).sum(2) / norms  # (N, R // 2)
    columns["correlation"][indices] = cosines.mean(1)
    if cosines.shape[1] > 1:
        error = cosines.std(1, ddof=1) / np.sqrt(cosines.shape[1])
        columns["correlation_error"][indices] = error


def _activation(columns: Columns, node: Node) -> None:
    """Zeros and dead units of rectifiers; slope and saturation of every activation."""
    if node.zeros is not None and node.output is not None:
        columns["zeros"][node.index] = float(node.zeros) / max(node.output.numel, 1)
    if node.dead is not None:
        columns["dead"][node.index] = float(node.dead)
    if node.preactivation is None or not node.preactivation.numel():
        return
    phi = activation(node.operation, **node.arguments)
    z = node.preactivation.cpu().numpy().astype(np.float64)
    columns["slope"][node.index] = (phi.derivative(z) ** 2).mean()
    if phi.saturates:
        fraction = saturated(phi, z)
        columns["saturated"][node.index] = fraction.mean()
        # Units of one row are not independent; the rows are.
        spread = fraction.reshape(len(z), -1).mean(1).std(ddof=1) if len(z) > 1 else np.nan
        columns["saturated_error"][node.index] = spread / np.sqrt(len(z))


def blocks(reduced: list[Reduced | None]) -> list[tuple[list[int], np.ndarray]]:
    """Samples of equal shape, stacked: (indices, (N, R, F) array in double precision).

    So each statistic is one operation for many calls.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, item in enumerate(reduced):
        if item is not None and item.sample is not None and item.sample.numel():
            groups[tuple(item.sample.shape)].append(index)
    return [
        (indices, np.stack([_array(reduced[i]) for i in indices])) for indices in groups.values()
    ]


def _array(item: Reduced | None) -> np.ndarray:
    assert item is not None and item.sample is not None
    return item.sample.cpu().numpy().astype(np.float64)


def _scaled(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The block with each tensor divided by its largest entry, so that no square underflows."""
    scale = np.abs(block).max((1, 2))
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
    return block / scale[:, None, None], scale


def _broken(item: Reduced | None, value: float) -> bool:
    return item is not None and not np.isfinite(value)
