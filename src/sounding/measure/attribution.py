"""Which factor did it: the log-gain between layers split into its parts, exactly.

Between two weighted calls on the main path lie activations, normalisations, additions of a skip.
Each step's part is a difference of measured logarithms, so the parts add up to the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sounding.capture.node import Node
from sounding.capture.sample import gathered
from sounding.measure.readings import Attribution

PARTS = ("weight", "activation", "normalisation", "skip", "other")


def main_path(nodes: Sequence[Node], end: int = -1) -> list[int]:
    """Indices of the calls from the input to the loss, each the one that carries the signal.

    Back from the call `end` that made the loss; where that was not seen, from the last loss, and
    without any from the call behind most weights.
    """
    if not any(node.role == "weight" for node in nodes):
        return []
    losses = [node.index for node in nodes if node.role == "loss"]
    if end >= 0 and nodes[end].depth:
        at = end
    elif losses:
        at = max(losses, key=lambda i: (nodes[i].depth, i))
    else:
        at = max(range(len(nodes)), key=lambda i: (nodes[i].depth, i))
    path = []
    while at >= 0:
        path.append(at)
        at = nodes[at].main
    return path[::-1]


def forward(nodes: Sequence[Node], path: list[int], rms: np.ndarray) -> Attribution | None:
    """Log-ratios of the signal's rms from one weighted call to the next."""
    logs = _logs(rms)
    path = _measured(nodes, path, logs)
    with np.errstate(invalid="ignore"):  # a signal of exactly zero
        steps = [
            {_part(nodes[above]): logs[above] - logs[below]} for below, above in pairwise(path)
        ]
        return _collect(nodes, path, steps, logs)


def backward(nodes: Sequence[Node], path: list[int], rms: np.ndarray) -> Attribution | None:
    """Log-ratios of the gradient's norm from one weighted call back to the one before it.

    Where a tensor has several users, what the one on the path sends back was recorded apart: the
    part of that user is its own, and what the others add is the skip's if they come back to the
    path in an addition, else (the keys and queries of an attention) other.

    Args:
        nodes: All calls.
        path: The main path.
        rms: Of the gradient at each call's output, per entry.
    """
    sizes = np.array([n.gradient.numel if n.gradient is not None else 0 for n in nodes])
    logs = _logs(rms * np.sqrt(sizes))
    alone = _contributions(nodes, path)
    path = _measured(nodes, path, logs)
    steps = []
    with np.errstate(invalid="ignore"):  # a gradient of exactly zero
        for below, above in pairwise(path):
            whole = logs[below] - logs[above]
            sent = alone.get((below, above), 0.0)
            own = float(np.log(sent)) - logs[above] if sent > 0 else whole
            step: dict[str, float] = dict.fromkeys(PARTS, 0.0)
            step[_part(nodes[above])] += own
            step[_returning(nodes, path, below, above)] += whole - own
            steps.append(step)
        return _collect(nodes, path, steps, -logs)


def _returning(nodes: Sequence[Node], path: list[int], below: int, above: int) -> str:
    """The part of the users of `below` other than `above`: by where they meet the path again."""
    others = sum(1 << index for index in nodes[below].consumers if index != above)
    meeting = (nodes[i] for i in path if i > below and nodes[i].ancestors & others)
    return "skip" if next((n.role for n in meeting), "other") == "skip" else "other"


def _contributions(nodes: Sequence[Node], path: list[int]) -> dict[tuple[int, int], float]:
    """Norm of what `above` alone sends back to `below`, along the path."""
    edges = [
        (below, above) for below, above in pairwise(path) if above in nodes[below].contributions
    ]
    values = gathered([nodes[below].contributions[above] for below, above in edges])
    return {edge: float(value) for edge, value in zip(edges, values, strict=True)}


def _measured(nodes: Sequence[Node], path: list[int], logs: np.ndarray) -> list[int]:
    """The path without the calls that have no number; the next one's part takes their step."""
    return [i for i in path if nodes[i].role == "weight" or logs[i] < np.inf]


def _collect(
    nodes: Sequence[Node], path: list[int], steps: list[dict[str, float]], logs: np.ndarray
) -> Attribution | None:
    """The steps' parts added up by layer; the totals come from the layers alone."""
    layers = [i for i in path if nodes[i].role == "weight"]
    if len(layers) < 2:
        return None
    parts = {name: np.zeros(len(layers) - 1) for name in PARTS}
    row = -1
    for below, step in zip(path, steps, strict=False):
        row += nodes[below].role == "weight"
        if 0 <= row < len(layers) - 1:
            for name, value in step.items():
                parts[name][row] += value
    names = tuple(nodes[i].name for i in layers)
    return Attribution(layers=names, total=np.diff(logs[layers]), **parts)


def _part(node: Node) -> str:
    return node.role if node.role in PARTS else "other"


def _logs(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)
