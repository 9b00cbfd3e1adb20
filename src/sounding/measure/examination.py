"""From a recorded pass to readings: every measurement, put beside what theory predicts."""

from __future__ import annotations

import math

import torch
from torch import nn

from sounding.capture.passes import Recording
from sounding.capture.recorder import Node
from sounding.capture.sources import source_of
from sounding.measure import attribution
from sounding.measure.expectation import expectation
from sounding.measure.gradients import gradients
from sounding.measure.readings import Call, Optimiser, Readings
from sounding.measure.signal import signal
from sounding.measure.weights import weights
from sounding.result import Series

ADAPTIVE = ("Adam", "Adagrad", "RMSprop", "Adadelta", "Adamax", "Lion", "Rprop", "Adafactor", "Muon")


def readings(
    model: nn.Module,
    recording: Recording,
    *,
    step: int = 0,
    optimizer: torch.optim.Optimizer | None = None,
    history: Series | None = None,
) -> Readings:
    """Everything that `recording` holds about `model`, reduced to numbers on the CPU."""
    nodes = recording.nodes
    calls = tuple(_call(node, nodes, model) for node in nodes)
    full = attribution.main_path(nodes)
    forward = signal(nodes)
    back = gradients(recording, model)
    path = tuple(i for i in full if nodes[i].role == "weight")
    first = next(model.parameters(), torch.zeros(0))
    inputs = [n for n in nodes if n.role == "input" and n.output is not None]
    names = [n.operation for n in nodes if n.role == "loss"]
    return Readings(
        model=type(model).__name__,
        step=step,
        batch=inputs[0].output.rows if inputs and inputs[0].output else 0,
        device=str(first.device),
        dtype=str(first.dtype).removeprefix("torch."),
        loss=recording.loss,
        loss_name=names[-1] if names else "",
        calls=calls,
        path=path,
        signal=forward,
        gradients=back,
        weights=weights(recording, model, calls),
        forward=attribution.forward(nodes, full, forward.rms),
        backward=attribution.backward(nodes, full),
        expectation=expectation(calls, full, forward, back),
        optimiser=None if optimizer is None else read_optimiser(optimizer),
        history=history,
    )


def read_optimiser(optimizer: torch.optim.Optimizer) -> Optimiser:
    """Name, learning rate of the first group, and whether steps are scaled by the gradient's size."""
    group = optimizer.param_groups[0]
    names = [c.__name__ for c in type(optimizer).__mro__]
    adaptive = any(name.startswith(ADAPTIVE) for name in names)
    return Optimiser(
        name=type(optimizer).__name__,
        lr=float(group.get("lr", math.nan)),
        adaptive=adaptive,
        eps=float(group.get("eps", math.nan)) if adaptive else math.nan,
    )


def _call(node: Node, nodes: list[Node], model: nn.Module) -> Call:
    follower = following_activation(node, nodes) if node.role == "weight" else None
    return Call(
        name=node.name,
        module=node.module,
        operation=node.operation,
        role=node.role,
        inputs=tuple(node.inputs),
        main=node.main,
        arguments=node.arguments,
        weight=node.weight,
        bias=node.bias,
        fan_in=node.fan_in,
        fan_out=node.fan_out,
        units=node.units,
        size=node.output.numel // max(node.output.rows, 1) if node.output else 0,
        weight_second_moment=node.weight_second_moment,
        bias_second_moment=node.bias_second_moment,
        activation=follower.operation if follower else "",
        activation_arguments=follower.arguments if follower else {},
        source=source_of(model, node.module) if node.role != "loss" else "",
    )


def following_activation(node: Node, nodes: list[Node]) -> Node | None:
    """The first activation that the output of `node` reaches before another weight, or None.

    Looks through normalisations, additions, pooling and dropout, breadth first, so residual
    branches and functional activations count as they are executed.
    """
    level, seen = [node], {node.index}
    while level:
        following = []
        for at in level:
            for user, _, _ in at.consumers:
                if user.index in seen or user.role in ("weight", "attention", "loss"):
                    continue
                if user.role == "activation":
                    return user
                seen.add(user.index)
                following.append(user)
        level = sorted(following, key=lambda n: n.index)
    return None
