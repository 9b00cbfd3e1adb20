"""Which factor did it: the log-gain between layers split into its parts, exactly.

Between two weighted calls on the main path lie activations, normalisations, additions of a skip.
Each step's part is a difference of measured logarithms, so the parts add up to the whole.
"""

from __future__ import annotations

import numpy as np

from sounding.capture.recorder import Node
from sounding.measure.readings import Attribution

PARTS = ("weight", "activation", "normalisation", "skip", "other")


def main_path(nodes: list[Node]) -> list[int]:
    """Indices of the calls from the input to the loss, through the most weighted calls."""
    if not any(node.role == "weight" for node in nodes):
        return []
    losses = [node.index for node in nodes if node.role == "loss"]
    deepest = max(node.depth for node in nodes)
    at = next(
        (i for i in reversed(losses) if nodes[i].depth == deepest),
        max(node.index for node in nodes if node.depth == deepest),
    )
    path = []
    while at >= 0:
        path.append(at)
        at = nodes[at].main
    return path[::-1]


def forward(nodes: list[Node], path: list[int], rms: np.ndarray) -> Attribution | None:
    """Log-ratios of the signal's rms from one weighted call to the next."""
    steps = {
        (below, above): {_part(nodes[above]): _log(rms[above]) - _log(rms[below])}
        for below, above in zip(path, path[1:], strict=False)
    }
    return _collect(nodes, path, steps, _logs(rms))


def backward(nodes: list[Node], path: list[int]) -> Attribution | None:
    """Log-ratios of the gradient's norm from one weighted call back to the one before it.

    Where a tensor has several users, what each sends back was recorded apart: the part of the
    user on the path is its own, and what the others add is the skip's.
    """
    norms = np.array([np.nan if n.gradient is None else float(n.gradient.norm) for n in nodes])
    steps = {}
    for below, above in zip(path, path[1:], strict=False):
        own = whole = _log(norms[below]) - _log(norms[above])
        alone = nodes[below].contributions.get(above)
        if alone is not None and float(alone) > 0:
            own = _log(float(alone)) - _log(norms[above])
        part = {_part(nodes[above]): own}
        part["skip"] = part.get("skip", 0.0) + whole - own
        steps[below, above] = part
    return _collect(nodes, path, steps, -_logs(norms))


def _collect(
    nodes: list[Node],
    path: list[int],
    steps: dict[tuple[int, int], dict[str, float]],
    logs: np.ndarray,
) -> Attribution | None:
    """The steps' parts added up by layer; the totals come from the layers alone."""
    layers = [i for i in path if nodes[i].role == "weight"]
    if len(layers) < 2:
        return None
    parts = {name: np.zeros(len(layers) - 1) for name in PARTS}
    row = -1
    for below, above in zip(path, path[1:], strict=False):
        row += nodes[below].role == "weight"
        if 0 <= row < len(layers) - 1:
            for name, value in steps[below, above].items():
                parts[name][row] += value
    names = tuple(nodes[i].name for i in layers)
    with np.errstate(invalid="ignore"):
        return Attribution(layers=names, total=np.diff(logs[layers]), **parts)


def _part(node: Node) -> str:
    return node.role if node.role in PARTS else "other"


def _logs(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def _log(value: float) -> float:
    return float(np.log(value)) if value > 0 else float("-inf") if value == 0 else float("nan")
