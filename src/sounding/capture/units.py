"""The units of a rectifier: which axis they lie on, and the largest output of each on the batch."""

from __future__ import annotations

import torch

from sounding.capture.node import Node


def peaks(node: Node, nodes: list[Node], tensor: torch.Tensor) -> torch.Tensor:
    """(units,) the largest output of each unit over the batch and all positions.

    A unit whose largest output is zero is dead on this batch.
    """
    tensor = tensor.detach()
    if tensor.dim() == 0:
        return tensor.reshape(1).clone()
    axis = unit_axis(node, nodes, tensor)
    if not tensor.numel():
        return tensor.new_zeros(tensor.shape[axis])
    if axis == 1 and tensor.dim() > 2 and tensor.is_contiguous():
        return tensor.flatten(2).amax(2).amax(0)  # twice as fast as all at once
    others = [d for d in range(tensor.dim()) if d != axis]
    return tensor.amax(dim=others) if others else tensor.clone()


def unit_axis(node: Node, nodes: list[Node], tensor: torch.Tensor) -> int:
    """Where the units lie: second after a convolution, last after everything else.

    An axis as long as the weighted call before has units is preferred: tensors may have been turned
    in between.
    """
    if tensor.dim() < 2:
        return 0
    maker = _weight_before(node, nodes)
    channels = maker is not None and ("conv" in maker.operation or maker.operation == "batch_norm")
    if maker is None:
        channels = tensor.dim() > 3
    usual = 1 if channels else tensor.dim() - 1
    units = maker.units if maker is not None else 0
    if units and tensor.shape[usual] != units:
        fitting = [d for d in range(1, tensor.dim()) if tensor.shape[d] == units]
        return fitting[0] if len(fitting) == 1 else usual
    return usual


def _weight_before(node: Node, nodes: list[Node]) -> Node | None:
    at = node.main
    while at >= 0:
        if nodes[at].role == "weight" or nodes[at].operation == "batch_norm":
            return nodes[at]
        at = nodes[at].main
    return None
