"""What part a call plays: weight, activation, normalisation, skip, attention, loss, or other."""

from __future__ import annotations

from sounding.capture import operations
from sounding.capture.node import Node
from sounding.capture.weighted import Weighting


def role_of(name: str, activation: str | None, weighs: Weighting | None, inputs: list[Node]) -> str:
    """The role of the operation `name` on what `inputs` made."""
    if operations.is_loss(name) or any(node.role == "loss" for node in inputs):
        return "loss"
    if weighs is not None:
        return "weight"
    if activation:
        return "activation"
    if name in operations.NORMALISATIONS:
        return "normalisation"
    if name in operations.ATTENTION:
        return "attention"
    return "skip" if name in operations.JOINS and _branches(inputs) else "other"


def merge_gate(node: Node, nodes: list[Node]) -> None:
    """Make of x sigmoid(x), written by hand, one activation (SiLU); its sigmoid is none then."""
    for index in node.inputs:
        gate = nodes[index]
        whole = operations.GATES.get(gate.operation)
        if gate.role == "activation" and whole and gate.main in node.inputs:
            node.role, node.operation, node.main = "activation", whole, gate.main
            node.preactivation, gate.preactivation = gate.preactivation, None
            gate.role, gate.peaks = "other", None
            return


def settle(nodes: list[Node]) -> None:
    """Call loss what runs outside the model and feeds nothing inside it; known at the end only."""
    feeds = 0
    for node in nodes:
        if node.inside or node.weight:
            feeds |= node.ancestors
    for node in nodes:
        if node.role != "input" and not feeds >> node.index & 1:
            node.role = "loss"


def _branches(inputs: list[Node]) -> bool:
    """Whether two of the inputs come from one common call: branches that part and meet again."""
    seen = 0
    for node in inputs:
        if seen & node.ancestors:
            return True
        seen |= node.ancestors
    return False
