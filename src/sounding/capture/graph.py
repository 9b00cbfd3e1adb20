"""The calls of one pass as a graph: which made which one's inputs, and what they put out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from sounding.capture.node import Node
from sounding.capture.operations import RECTIFIERS
from sounding.capture.origins import CONSTANT, Origins
from sounding.capture.returning import Edge, split_gradients, watch_gradient
from sounding.capture.roles import settle
from sounding.capture.sample import reduce, sample
from sounding.capture.scope import Scope
from sounding.capture.units import peaks

Arrival = tuple[int, Any, int]  # maker of a call's input, its autograd node, and place there


class Graph:
    """Grows call by call during the forward pass; the backward pass adds the gradients.

    `guarded` runs a function whose failure must not reach the pass that is watched.
    """

    def __init__(self, scope: Scope, origins: Origins, guarded: Callable) -> None:
        self.nodes: list[Node] = []
        self.opaque: list[str] = []  # calls whose inside was not seen
        self._scope = scope
        self._origins = origins
        self._guarded = guarded
        self._edges: list[Edge] = []
        self._returning: set[int] = set()  # calls whose gradient is waited for

    def add(
        self,
        operation: str,
        role: str,
        known: list[int],
        tensor: torch.Tensor,
        *,
        carrier: int | None = None,
        name: str = "",
    ) -> Node:
        """A new call that made `tensor` from what the calls `known` made.

        `carrier` is the input that carries the signal, where that is clear.
        """
        node = Node(
            index=len(self.nodes),
            name=self._scope.unique(name or self._scope.label(operation)),
            module=self._scope.module,
            operation=operation,
            role=role,
            inputs=known,
            inside=self._scope.inside,
            numel=tensor.numel(),
            dtype=str(tensor.dtype).removeprefix("torch."),
        )
        node.ancestors = 1 << node.index
        for index in known:
            node.ancestors |= self.nodes[index].ancestors
            self.nodes[index].consumers.append(node.index)
        if known:
            node.main = self._main(role, known, node.numel) if carrier is None else carrier
            node.depth = self.nodes[node.main].depth
        node.depth += role == "weight"
        self.nodes.append(node)
        return node

    def _main(self, role: str, known: list[int], numel: int) -> int:
        """The input that carries the signal: of the output's size, behind most weights, latest.

        The size tells a gate, a mask or a squeezed branch from what it is applied to.
        """
        if role == "loss":
            fitting = [k for k in known if self.nodes[k].role == "loss"]
        else:
            fitting = [k for k in known if self.nodes[k].numel == numel]
        return max(fitting or known, key=lambda k: (self.nodes[k].depth, k))

    def add_input(self, tensor: torch.Tensor) -> int:
        """`tensor` comes from outside."""
        node = self.add("input", "input", [], tensor, name="input")
        node.rows = tensor.shape[0] if tensor.dim() else 1
        if is_signal(tensor):
            node.output, node.version = reduce(tensor), _version(tensor)
        self._origins.claim(tensor, node.index)
        return node.index

    def add_opaque(
        self, operation: str, known: list[int], tensor: torch.Tensor, *, name: str = ""
    ) -> int:
        """`tensor` was made from what `known` made by something that could not be seen."""
        node = self.add(operation, "other", list(dict.fromkeys(known)), tensor, name=name)
        self.opaque.append(node.name)
        self.observe(node, tensor)
        return node.index

    def maker(self, tensor: torch.Tensor) -> int | None:
        """The call that made `tensor`, CONSTANT, or None for what comes from outside.

        A tensor with a history that nobody claimed was made by something that torch does not show
        (a custom autograd function, a script): that becomes a call.
        """
        maker = self._origins.maker(tensor)
        if maker is not None or tensor.grad_fn is None or not is_signal(tensor):
            return maker
        known = self._origins.behind(tensor)
        if not known:
            return None
        operation = re.sub(r"Backward\d*$", "", tensor.grad_fn.name())
        return self.add_opaque(operation, known, tensor)

    def observe(self, node: Node, tensor: torch.Tensor) -> None:
        """Reduce an output of the call, and wait for its gradient."""
        node.output = reduce(tensor, sampled=node.role != "loss")
        node.version = _version(tensor)
        if node.role == "activation" and node.operation in RECTIFIERS:
            node.peaks = peaks(node, self.nodes, tensor)
            node.units = node.peaks.numel()
        self._origins.claim(tensor, node.index)
        self.wait_for(node.index, tensor)

    def sample_of(self, tensor: torch.Tensor) -> torch.Tensor:
        """A sample of the tensor as it is now: its maker's, unless it was overwritten since."""
        maker = self._origins.maker(tensor)
        if maker is not None and maker != CONSTANT:
            node = self.nodes[maker]
            kept = node.output.sample if node.output is not None else None
            if kept is not None and node.version == _version(tensor):
                return kept
        return sample(tensor)

    def wait_for(self, index: int, tensor: torch.Tensor) -> None:
        """Watch for the gradient, at the first of the call's tensors that can have one."""
        if index in self._returning:
            return
        if watch_gradient(self.nodes[index], tensor, self._guarded):
            self._returning.add(index)

    def follow(self, node: Node, arrivals: list[Arrival], tensor: torch.Tensor) -> None:
        """Remember how the call uses the one before it on the main path."""
        for maker, function, place in arrivals:
            if maker == node.main:
                self._edges.append(Edge(maker, node.index, tensor.grad_fn, function, place))

    def finish(self) -> None:
        """The forward pass is over, the backward pass has not begun; autograd's graph is let go."""
        self._guarded(settle, self.nodes)
        self._guarded(split_gradients, self.nodes, self._edges, self._guarded)
        self._edges = []
        self._origins.forget()


def is_signal(tensor: torch.Tensor) -> bool:
    """Whether the tensor holds numbers that a gradient can belong to."""
    return tensor.is_floating_point() or tensor.is_complex()


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
