"""How the gradient comes back: its size at each call's output, and who sent which part of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from sounding.capture.node import Node
from sounding.capture.sample import norm, reduce

REACH = 5  # autograd nodes that one call may hide between its output and its input


class Edge(NamedTuple):
    """One call's use of another's output."""

    producer: int
    consumer: int
    user: Any  # autograd node of the consumer's output
    maker: Any  # autograd node of the tensor that it used
    place: int  # which of the maker's outputs that tensor is


def watch_gradient(node: Node, tensor: torch.Tensor, guarded: Callable) -> bool:
    """Reduce the gradient that will arrive at `tensor`, an output of `node`.

    False where none will: at a tensor that needs no gradient, or a leaf, which may be the user's.
    """
    if not tensor.requires_grad or tensor.grad_fn is None:
        return False

    def arrived(gradient: torch.Tensor) -> None:
        guarded(_keep, node, gradient)

    tensor.register_hook(arrived)
    return True


def _keep(node: Node, gradient: torch.Tensor) -> None:
    node.gradient = reduce(gradient, sampled=False)


def split_gradients(nodes: list[Node], edges: list[Edge], guarded: Callable) -> None:
    """Where a tensor has several users, record what the one on the main path alone sends back."""
    for edge in edges:
        if len(nodes[edge.producer].consumers) > 1:
            guarded(_split, nodes[edge.producer], edge, guarded)


def _split(producer: Node, edge: Edge, guarded: Callable) -> None:
    found = _sender(edge)
    if found is None:
        return
    function, places = found
    consumer = edge.consumer  # and not the edge: its autograd nodes would hold their own hook

    def sent(gradients: tuple[torch.Tensor | None, ...], _: Any) -> None:
        guarded(_keep_part, producer, consumer, [gradients[i] for i in places])

    function.register_hook(sent)


def _keep_part(producer: Node, consumer: int, parts: list[torch.Tensor | None]) -> None:
    there = [part.detach() for part in parts if part is not None]
    if there:
        producer.contributions[consumer] = norm(sum(there[1:], start=there[0]))


def _sender(edge: Edge) -> tuple[Any, list[int]] | None:
    """The autograd node of the consumer that feeds the maker, and with which of its gradients."""
    if edge.user is None or edge.maker is None:
        return None
    level = [edge.user]
    for _ in range(REACH):
        following = []
        for function in level:
            below = function.next_functions
            places = [
                i
                for i, (maker, place) in enumerate(below)
                if maker is edge.maker and place == edge.place
            ]
            if places:
                return function, places
            following += [maker for maker, _ in below if maker is not None]
        level = following
    return None
