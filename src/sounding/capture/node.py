"""One executed call, as it is recorded: what it is, what it is made of, and its numbers."""

from __future__ import annotations

import dataclasses

import torch

from sounding.capture.sample import Reduced


@dataclasses.dataclass(slots=True, eq=False)
class Node:
    """A call in the graph of calls; it holds reduced numbers only, nothing of the pass itself."""

    index: int
    name: str
    module: str
    operation: str
    role: str
    inputs: list[int]  # calls that made its inputs, each once
    inside: bool = True  # while a module of the model was running
    main: int = -1  # the input that carries the signal
    severed: int = -1  # the call that an input was computed from without a gradient
    depth: int = 0  # weighted calls on the way along `main` from the input
    ancestors: int = 0  # as bits: the calls that its numbers depend on, itself included
    dtype: str = ""  # of the output, 'float16'
    numel: int = 0  # entries of the output
    rows: int = 0  # samples in an input
    version: int = 0  # of the output when it was read; in-place operations raise it
    consumers: list[int] = dataclasses.field(default_factory=list)
    arguments: dict[str, float] = dataclasses.field(default_factory=dict)
    weight: str = ""
    others: tuple[str, ...] = ()  # further weights of a recurrent call
    bias: str = ""
    fan_in: float = 0
    fan_out: float = 0
    units: int = 0
    weight_second_moment: float = float("nan")
    bias_second_moment: float = float("nan")
    output: Reduced | None = None
    gradient: Reduced | None = None
    preactivation: torch.Tensor | None = None  # sample of an activation's input
    peaks: torch.Tensor | None = None  # (units,) largest output of a rectifier's unit on the batch
    contributions: dict[int, torch.Tensor] = dataclasses.field(default_factory=dict)


def following_activation(node: Node, nodes: list[Node]) -> Node | None:
    """The first activation that the output of `node` reaches before another weight, or None.

    Looks through normalisations, additions, pooling and dropout, breadth first, so residual
    branches and functional activations count as they are executed.
    """
    level, seen = [node.index], {node.index}
    while level:
        following = []
        for at in level:
            for index in nodes[at].consumers:
                user = nodes[index]
                if index in seen or user.role in ("weight", "attention", "loss"):
                    continue
                if user.role == "activation":
                    return user
                seen.add(index)
                following.append(index)
        level = sorted(following)
    return None
